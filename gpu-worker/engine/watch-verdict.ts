/**
 * When a watched process is to be ended, as decisions over what was seen of it. Silence is counted only while the process
 * that hears its signs of life is itself alive: otherwise the silence would be the listener's.
 */

export interface WatchLimits {
  memoryBytesMax: number
  /** Absent: signs of life are not expected. All in milliseconds. */
  silentMs?: number
  /** The same while it is loading. */
  loadSilentMs?: number
  /** With work to do, and no step done. */
  stuckMs?: number
}

/** What is known of the process at one moment. The counters only grow. */
export interface Sight {
  now: number
  /** Turns of the listener's event loop. */
  listener: number
  beats: number
  steps: number
  loading: boolean
  /** Whether it has work to do. */
  busy: boolean
  /** Undefined where it cannot be read. */
  memoryBytes: number | undefined
}

export type WatchVerdict =
  | { kind: 'memory'; bytes: number; bytesMax: number }
  | { kind: 'silent'; ms: number }
  | { kind: 'stuck'; ms: number }

export interface WatchState {
  last: Sight
  silentMs: number
  stuckMs: number
}

export function watching(sight: Sight): WatchState {
  return { last: sight, silentMs: 0, stuckMs: 0 }
}

export function look(
  state: WatchState,
  sight: Sight,
  limits: WatchLimits,
): { state: WatchState; verdict?: WatchVerdict } {
  const { last } = state
  const heardMs = sight.listener === last.listener ? 0 : sight.now - last.now
  const silentMs = sight.beats === last.beats ? state.silentMs + heardMs : 0
  const stuckMs = sight.busy && last.busy && sight.steps === last.steps ? state.stuckMs + heardMs : 0
  return { state: { last: sight, silentMs, stuckMs }, ...verdictOf(sight, silentMs, stuckMs, limits) }
}

function verdictOf(sight: Sight, silentMs: number, stuckMs: number, limits: WatchLimits): { verdict?: WatchVerdict } {
  const { memoryBytesMax, stuckMs: stuckMsMax } = limits
  const silentMsMax = sight.loading ? limits.loadSilentMs : limits.silentMs
  if (sight.memoryBytes !== undefined && sight.memoryBytes > memoryBytesMax)
    return { verdict: { kind: 'memory', bytes: sight.memoryBytes, bytesMax: memoryBytesMax } }
  if (silentMsMax !== undefined && silentMs >= silentMsMax) return { verdict: { kind: 'silent', ms: silentMs } }
  if (stuckMsMax !== undefined && stuckMs >= stuckMsMax) return { verdict: { kind: 'stuck', ms: stuckMs } }
  return {}
}

/** To go on after "the engine". */
export function sentenceOf(verdict: WatchVerdict): string {
  switch (verdict.kind) {
    case 'memory':
      return `used ${size(verdict.bytes)}, more than its limit of ${size(verdict.bytesMax)}, and was ended`
    case 'silent':
      return `was silent for ${seconds(verdict.ms)} and was ended`
    case 'stuck':
      return `finished no step in ${seconds(verdict.ms)} and was ended`
  }
}

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`
}

function seconds(ms: number): string {
  return ms >= 10_000 ? `${Math.round(ms / 1_000)} s` : `${(ms / 1_000).toFixed(1)} s`
}
