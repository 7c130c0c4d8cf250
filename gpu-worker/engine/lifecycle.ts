/**
 * The lifecycle of an engine as pure decisions: for the embedded child, for a launched process, and for an attached
 * engine (its "process" exists while it answers).
 *
 *   starting ──loaded──▶ ready ──exited──▶ restarting ──loaded──▶ ready
 *      │ ╲  ╲               ╲                 │   ╲
 *      │  ╲  stalled         stalled, restart │    stalled
 *      │   ╲      ╲                 ╲         │      ╱
 *      │    ╲      ╰──────────────▶ ending ◀──┼─────╯
 *      │     exited ▶ starting        ╰─exited─▶ starting or restarting
 *      ▼                                      ▼
 *    failed ◀── too many early deaths, or refused          close, from anywhere ──▶ closed
 *
 * An early death is attributed to the model file or the settings: any death before the engine was ready, and a native
 * abort before the first few requests finished. Too many in a row stop the restarts, because the cause would persist.
 * `ending` is a process that has been signalled and has not exited: no other process starts before it has.
 */

type Alive =
  | { kind: 'starting'; earlyDeaths: number }
  | { kind: 'ready'; earlyDeaths: number; deaths: number; finished: number }
  | { kind: 'restarting'; earlyDeaths: number; deaths: number }

export type EngineLife =
  | Alive
  /** `why` is null for a requested restart, which counts as no failure. */
  | { kind: 'ending'; from: Alive; why: string | null }
  | { kind: 'failed'; reason: string }
  | { kind: 'closed' }

/** The engine's state as the worker reports it. */
export function stateOf(life: EngineLife): 'starting' | 'ready' | 'restarting' | 'failed' | 'closed' {
  if (life.kind === 'ending') return life.from.kind === 'starting' ? 'starting' : 'restarting'
  return life.kind
}

export type LifeEvent =
  | { kind: 'loaded' }
  /** The engine, or an examination of it, shows that it can never serve. */
  | { kind: 'refused'; reason: string }
  | { kind: 'exited'; death: Death }
  /** The process lives but does not work: not ready in time, or silent. `reason` becomes part of a sentence. */
  | { kind: 'stalled'; reason: string }
  /** A request ended regularly. */
  | { kind: 'finished' }
  /** A restart was requested. Its open requests should have ended before. */
  | { kind: 'restart' }
  | { kind: 'close' }

export interface Death {
  code: number | null
  signal: string | null
}

export type LifeEffect =
  | { kind: 'spawn'; afterMs: number }
  /** Ends the process if there is one. */
  | { kind: 'kill' }
  | { kind: 'failRuns'; reason: string }
  | { kind: 'started' }
  | { kind: 'startFailed'; reason: string }

export interface LifeStep {
  life: EngineLife
  effects: LifeEffect[]
}

/** The differences between kinds of engine. */
export interface LifeRules {
  /** Early deaths in a row that stop the restarts: before the engine was first ready, and after. */
  startAttemptsMax: number
  earlyDeathsMax: number
  /** The first delay before a restart, doubled with each death in a row up to the maximum. */
  backoffFirstMs: number
  backoffMaxMs: number
  /** The error message for an engine that cannot serve. */
  refused: (reason: string) => string
  /** The error message when the restarts stop. `how` is the last exit; `when` begins with "while" or "in". */
  gaveUp: (times: number, when: string, how: string) => string
}

/** After this many finished requests since loading, the engine counts as working. */
const provenAfter = 3

export const initial: LifeStep = {
  life: { kind: 'starting', earlyDeaths: 0 },
  effects: [{ kind: 'spawn', afterMs: 0 }],
}

export function live(life: EngineLife, event: LifeEvent, rules: LifeRules): LifeStep {
  if (life.kind === 'closed') return { life, effects: [] }
  switch (event.kind) {
    case 'close':
      return close(life)
    case 'loaded':
      return loaded(life)
    case 'finished':
      return { life: life.kind === 'ready' ? finished(life) : life, effects: [] }
    case 'refused':
      return fail(life, rules.refused(event.reason))
    case 'stalled':
      return end(life, event.reason, `the engine ${event.reason}`)
    case 'restart':
      return end(life, null, 'the engine is being restarted')
    case 'exited':
      return exited(life, event.death, rules)
  }
}

/** The embedded engine: after two native aborts the file is considered the cause. */
export function embeddedRules(modelPath: string): LifeRules {
  return {
    ...{ startAttemptsMax: 2, earlyDeathsMax: 2, backoffFirstMs: 100, backoffMaxMs: 10_000 },
    refused: (reason) => `The model file ${modelPath} cannot be served: ${sentence(reason)}`,
    gaveUp: (times, when, how) =>
      `The model file ${modelPath} is refused: the engine ended ${times} times with it, last ${when} (${how}).`,
  }
}

/**
 * A launched engine. Once it has worked, more failed loads in a row are allowed, because the GPU frees the memory of a
 * dead process late.
 */
export function launchedRules(engine: string, lastError: () => string): LifeRules {
  return {
    ...{ startAttemptsMax: 2, earlyDeathsMax: 5, backoffFirstMs: 500, backoffMaxMs: 30_000 },
    refused: (reason) => `The engine ${engine} cannot be used: ${sentence(reason)}`,
    gaveUp: (times, when, how) => {
      const error = lastError()
      return `The engine ${engine} ended ${times} times, last ${when} (${how}), and is not restarted${error && `. Its output: ${error}`}.`
    },
  }
}

/** An attached engine: its absence at the start is an immediate error; after that, it may be absent for any time. */
export function attachedRules(engine: string, url: string): LifeRules {
  return {
    ...{ startAttemptsMax: 1, earlyDeathsMax: Number.POSITIVE_INFINITY, backoffFirstMs: 500, backoffMaxMs: 5_000 },
    refused: (reason) => `The engine ${engine} at ${url} cannot be used: ${sentence(reason)}`,
    gaveUp: (_times, _when, how) =>
      `The engine ${engine} at ${url} ${how}. Start it first, or correct TRAMONTANE_ENGINE_URL.`,
  }
}

function close(life: EngineLife): LifeStep {
  const reason = 'the engine was closed'
  const effects: LifeEffect[] = [{ kind: 'kill' }, { kind: 'failRuns', reason }]
  if (neverReady(life)) effects.push({ kind: 'startFailed', reason })
  return { life: { kind: 'closed' }, effects }
}

function loaded(life: EngineLife): LifeStep {
  if (life.kind !== 'starting' && life.kind !== 'restarting') return { life, effects: [] }
  const deaths = life.kind === 'restarting' ? life.deaths : 0
  return {
    life: { kind: 'ready', earlyDeaths: life.earlyDeaths, deaths, finished: 0 },
    effects: [{ kind: 'started' }],
  }
}

function finished(life: Extract<EngineLife, { kind: 'ready' }>): EngineLife {
  const count = life.finished + 1
  return count < provenAfter ? { ...life, finished: count } : { ...life, finished: count, earlyDeaths: 0, deaths: 0 }
}

function end(life: EngineLife, why: string | null, reason: string): LifeStep {
  if (life.kind === 'ending' || life.kind === 'failed' || life.kind === 'closed') return { life, effects: [] }
  return { life: { kind: 'ending', from: life, why }, effects: [{ kind: 'failRuns', reason }, { kind: 'kill' }] }
}

function exited(life: EngineLife, death: Death, rules: LifeRules): LifeStep {
  switch (life.kind) {
    case 'failed':
    case 'closed':
      return { life, effects: [] }
    case 'ending':
      // The runs have already failed.
      return life.why === null ? again(life.from) : withoutRuns(died(life.from, life.why, false, rules))
    default:
      return died(life, how(death), isNativeAbort(death), rules)
  }
}

function withoutRuns({ life, effects }: LifeStep): LifeStep {
  return { life, effects: effects.filter(({ kind }) => kind !== 'failRuns') }
}

/** A requested restart: it does not count as a death. */
function again(from: Alive): LifeStep {
  const effects: LifeEffect[] = [{ kind: 'spawn', afterMs: 0 }]
  if (from.kind === 'starting') return { life: from, effects }
  return { life: { kind: 'restarting', earlyDeaths: from.earlyDeaths, deaths: from.deaths }, effects }
}

function died(life: Alive, how: string, native: boolean, rules: LifeRules): LifeStep {
  const early = life.kind !== 'ready' || (native && life.finished < provenAfter)
  const earlyDeaths = life.earlyDeaths + (early ? 1 : 0)
  if (early && earlyDeaths >= (life.kind === 'starting' ? rules.startAttemptsMax : rules.earlyDeathsMax)) {
    const when = life.kind === 'ready' ? 'in its first requests' : 'while it loaded'
    return fail(life, rules.gaveUp(earlyDeaths, when, how))
  }
  const deaths = life.kind === 'starting' ? earlyDeaths : life.deaths + 1
  const afterMs = Math.min(rules.backoffMaxMs, rules.backoffFirstMs * 2 ** (deaths - 1))
  const effects: LifeEffect[] = [
    { kind: 'failRuns', reason: `the engine ended unexpectedly (${how})` },
    { kind: 'spawn', afterMs },
  ]
  if (life.kind === 'starting') return { life: { ...life, earlyDeaths }, effects }
  return { life: { kind: 'restarting', earlyDeaths, deaths }, effects }
}

function fail(life: EngineLife, reason: string): LifeStep {
  if (life.kind === 'failed') return { life, effects: [] }
  const effects: LifeEffect[] = [{ kind: 'kill' }, { kind: 'failRuns', reason }]
  if (neverReady(life)) effects.push({ kind: 'startFailed', reason })
  return { life: { kind: 'failed', reason }, effects }
}

function neverReady(life: EngineLife): boolean {
  return life.kind === 'starting' || (life.kind === 'ending' && life.from.kind === 'starting')
}

const abortSignals = new Set(['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP'])
/** The same signals as a shell or a container reports them: 128 plus the signal number. */
const abortCodes = new Set([132, 133, 134, 135, 136, 139])

function isNativeAbort({ code, signal }: Death): boolean {
  return signal !== null ? abortSignals.has(signal) : code !== null && abortCodes.has(code)
}

function how({ code, signal }: Death): string {
  return signal ?? `exit code ${code}`
}

/** Reasons come from adapters and files, with or without a full stop. */
function sentence(reason: string): string {
  return reason.endsWith('.') ? reason : `${reason}.`
}
