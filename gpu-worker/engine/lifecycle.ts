/**
 * The life of an engine, as decisions: of the embedded child, of a process that a supervisor launched, and of an engine
 * elsewhere that is only attached (its "process" is that it answers).
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
 * An early death is one that the model file or the settings are to blame for: any before the engine was ready, and a
 * native abort before the first few requests were finished. Too many in a row end the attempts: what kills its process
 * would do it for ever. `ending` is a process that was told to end and has not yet: nothing is started beside it.
 */

type Alive =
  | { kind: 'starting'; earlyDeaths: number }
  | { kind: 'ready'; earlyDeaths: number; deaths: number; finished: number }
  | { kind: 'restarting'; earlyDeaths: number; deaths: number }

export type EngineLife =
  | Alive
  /** `why` is null where nobody is to blame: somebody asked for a restart. */
  | { kind: 'ending'; from: Alive; why: string | null }
  | { kind: 'failed'; reason: string }
  | { kind: 'closed' }

/** What others need to know of it. */
export function stateOf(life: EngineLife): 'starting' | 'ready' | 'restarting' | 'failed' | 'closed' {
  if (life.kind === 'ending') return life.from.kind === 'starting' ? 'starting' : 'restarting'
  return life.kind
}

export type LifeEvent =
  | { kind: 'loaded' }
  /** The engine, or what was found out about it, says that it cannot be served from. */
  | { kind: 'refused'; reason: string }
  | { kind: 'exited'; death: Death }
  /** It lives and does not do its work: not ready in time, or silent. The reason becomes part of a sentence. */
  | { kind: 'stalled'; reason: string }
  /** A request came to its regular end. */
  | { kind: 'finished' }
  /** Somebody wants it started anew. Its open requests should have ended before. */
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

/** What differs between kinds of engine. */
export interface LifeRules {
  /** Early deaths in a row that end the attempts before the engine was ever ready, and after. */
  startAttemptsMax: number
  earlyDeathsMax: number
  /** The first wait before it is started again, in milliseconds, doubled with each death in a row up to the last. */
  backoffFirstMs: number
  backoffMaxMs: number
  /** The sentence for an engine that says that it cannot serve. */
  refused: (reason: string) => string
  /** The sentence for one that is given up. `how` is how it ended the last time, `when` begins with "while" or "in". */
  gaveUp: (times: number, when: string, how: string) => string
}

/** After this many regular ends since loading, the engine has shown that it works. */
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
      return end(life, null, 'the engine is started anew')
    case 'exited':
      return exited(life, event.death, rules)
  }
}

/** The embedded engine: two native aborts are enough to know that the file is to blame. */
export function embeddedRules(modelPath: string): LifeRules {
  return {
    ...{ startAttemptsMax: 2, earlyDeathsMax: 2, backoffFirstMs: 100, backoffMaxMs: 10_000 },
    refused: (reason) => `The model file ${modelPath} cannot be served: ${reason}.`,
    gaveUp: (times, when, how) =>
      `The model file ${modelPath} is refused: it ended the engine ${times} times, last ${when} (${how}).`,
  }
}

/**
 * An engine that is launched. Once it worked, it may fail to load some times more than at first: the GPU's memory that
 * a dead process held comes free late.
 */
export function launchedRules(engine: string, lastWords: () => string): LifeRules {
  return {
    ...{ startAttemptsMax: 2, earlyDeathsMax: 5, backoffFirstMs: 500, backoffMaxMs: 30_000 },
    refused: (reason) => `The engine ${engine} cannot be used: ${reason}.`,
    gaveUp: (times, when, how) => {
      const words = lastWords()
      return `The engine ${engine} is given up: it ended ${times} times, last ${when} (${how})${words && `; it said: ${words}`}.`
    },
  }
}

/** An engine elsewhere: if it is not there at the start, that is said at once; if it goes later, it may come back. */
export function attachedRules(engine: string, url: string): LifeRules {
  return {
    ...{ startAttemptsMax: 1, earlyDeathsMax: Number.POSITIVE_INFINITY, backoffFirstMs: 500, backoffMaxMs: 5_000 },
    refused: (reason) => `The engine ${engine} at ${url} cannot be used: ${reason}.`,
    gaveUp: (_times, _when, how) =>
      `The engine ${engine} at ${url} ${how}: start it first, or correct TRAMONTANE_ENGINE_URL.`,
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
      // Its runs have failed already.
      return life.why === null ? again(life.from) : withoutRuns(died(life.from, life.why, false, rules))
    default:
      return died(life, how(death), isNativeAbort(death), rules)
  }
}

function withoutRuns({ life, effects }: LifeStep): LifeStep {
  return { life, effects: effects.filter(({ kind }) => kind !== 'failRuns') }
}

/** Started anew at somebody's wish: nobody died. */
function again(from: Alive): LifeStep {
  const effects: LifeEffect[] = [{ kind: 'spawn', afterMs: 0 }]
  if (from.kind === 'starting') return { life: from, effects }
  return { life: { kind: 'restarting', earlyDeaths: from.earlyDeaths, deaths: from.deaths }, effects }
}

function died(life: Alive, how: string, native: boolean, rules: LifeRules): LifeStep {
  const early = life.kind !== 'ready' || (native && life.finished < provenAfter)
  const earlyDeaths = life.earlyDeaths + (early ? 1 : 0)
  if (early && earlyDeaths >= (life.kind === 'starting' ? rules.startAttemptsMax : rules.earlyDeathsMax)) {
    const when = life.kind === 'ready' ? 'in its first requests' : 'while it was loaded'
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
/** The same, as a shell or a container reports them: 128 plus the signal's number. */
const abortCodes = new Set([132, 133, 134, 135, 136, 139])

function isNativeAbort({ code, signal }: Death): boolean {
  return signal !== null ? abortSignals.has(signal) : code !== null && abortCodes.has(code)
}

function how({ code, signal }: Death): string {
  return signal ?? `exit code ${code}`
}
