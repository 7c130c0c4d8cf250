/**
 * Decides from samples when a watched process must be killed. Silence counts only while the process that receives the
 * signs of life is itself running: otherwise the silence is the listener's.
 */

export interface WatchLimits {
  memoryBytesMax: number
  /** Maximum silence; absent if no signs of life are expected. All limits in milliseconds. */
  silentMs?: number
  /** Maximum silence while the process loads. */
  loadSilentMs?: number
  /** Maximum time with work to do and no finished step. */
  stuckMs?: number
}

/** A sample of the process at one moment. The counters only grow. */
export interface WatchSample {
  now: number
  /** Ticks of the listener's event loop. */
  listener: number
  beats: number
  steps: number
  loading: boolean
  /** Whether the process has work to do. */
  busy: boolean
  /** Undefined if it cannot be read. */
  memoryBytes: number | undefined
}

export type WatchVerdict =
  | { kind: 'memory'; bytes: number; bytesMax: number }
  | { kind: 'silent'; ms: number }
  | { kind: 'stuck'; ms: number }

export interface WatchState {
  last: WatchSample
  silentMs: number
  stuckMs: number
}

export function watching(sample: WatchSample): WatchState {
  return { last: sample, silentMs: 0, stuckMs: 0 }
}

export function look(
  state: WatchState,
  sample: WatchSample,
  limits: WatchLimits,
): { state: WatchState; verdict?: WatchVerdict } {
  const { last } = state
  const heardMs = sample.listener === last.listener ? 0 : sample.now - last.now
  const silentMs = sample.beats === last.beats ? state.silentMs + heardMs : 0
  const stuckMs = sample.busy && last.busy && sample.steps === last.steps ? state.stuckMs + heardMs : 0
  return { state: { last: sample, silentMs, stuckMs }, ...verdictOf(sample, silentMs, stuckMs, limits) }
}

function verdictOf(
  sample: WatchSample,
  silentMs: number,
  stuckMs: number,
  limits: WatchLimits,
): { verdict?: WatchVerdict } {
  const { memoryBytesMax, stuckMs: stuckMsMax } = limits
  const silentMsMax = sample.loading ? limits.loadSilentMs : limits.silentMs
  if (sample.memoryBytes !== undefined && sample.memoryBytes > memoryBytesMax)
    return { verdict: { kind: 'memory', bytes: sample.memoryBytes, bytesMax: memoryBytesMax } }
  if (silentMsMax !== undefined && silentMs >= silentMsMax) return { verdict: { kind: 'silent', ms: silentMs } }
  if (stuckMsMax !== undefined && stuckMs >= stuckMsMax) return { verdict: { kind: 'stuck', ms: stuckMs } }
  return {}
}

/** The predicate of a sentence that begins with "the engine". */
export function sentenceOf(verdict: WatchVerdict): string {
  switch (verdict.kind) {
    case 'memory':
      return `used ${size(verdict.bytes)}, more than its limit of ${size(verdict.bytesMax)}, and was killed`
    case 'silent':
      return `was silent for ${seconds(verdict.ms)} and was killed`
    case 'stuck':
      return `finished no step in ${seconds(verdict.ms)} and was killed`
  }
}

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`
}

function seconds(ms: number): string {
  return ms >= 10_000 ? `${Math.round(ms / 1_000)} s` : `${(ms / 1_000).toFixed(1)} s`
}
