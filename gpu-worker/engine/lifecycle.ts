/**
 * The life of the engine child, as decisions.
 *
 *   starting ──loaded──▶ ready ──exited──▶ restarting ──loaded──▶ ready
 *      │ ╲                                    │
 *      │  exited ──▶ starting again           │ too many early deaths, or refused
 *      ▼                                      ▼
 *    failed ◀─────────────────────────────────┘          close, from anywhere ──▶ closed
 *
 * An early death is one that the model file is to blame for: any while loading, and a native abort before the first
 * few requests were finished. The second in a row ends the attempts: a file that kills its process would do it for ever.
 */

export type Life =
  | { kind: 'starting'; earlyDeaths: number }
  | { kind: 'ready'; earlyDeaths: number; deaths: number; finished: number }
  | { kind: 'restarting'; earlyDeaths: number; deaths: number }
  | { kind: 'failed'; reason: string }
  | { kind: 'closed' }

export type LifeEvent =
  | { kind: 'loaded' }
  /** The child said that the model cannot be served. */
  | { kind: 'refused'; reason: string }
  | { kind: 'exited'; death: Death }
  /** A request came to its regular end. */
  | { kind: 'finished' }
  | { kind: 'close' }

export interface Death {
  code: number | null
  signal: string | null
}

export type LifeEffect =
  | { kind: 'spawn'; afterMs: number }
  /** Ends the child if there is one. */
  | { kind: 'kill' }
  | { kind: 'failRuns'; reason: string }
  | { kind: 'started' }
  | { kind: 'startFailed'; reason: string }

export interface LifeStep {
  life: Life
  effects: LifeEffect[]
}

const earlyDeathsMax = 2
/** After this many regular ends since loading, the file has shown that it works. */
const provenAfter = 3
const backoffFirstMs = 100
const backoffMaxMs = 10_000

export const born: LifeStep = {
  life: { kind: 'starting', earlyDeaths: 0 },
  effects: [{ kind: 'spawn', afterMs: 0 }],
}

/** @param modelPath for the sentences */
export function live(life: Life, event: LifeEvent, modelPath: string): LifeStep {
  if (life.kind === 'closed') return { life, effects: [] }
  switch (event.kind) {
    case 'close':
      return close(life)
    case 'loaded':
      return loaded(life)
    case 'finished':
      return { life: life.kind === 'ready' ? finished(life) : life, effects: [] }
    case 'refused':
      return fail(life, `The model file ${modelPath} cannot be served: ${event.reason}.`)
    case 'exited':
      return exited(life, event.death, modelPath)
  }
}

function close(life: Life): LifeStep {
  const reason = 'the engine was closed'
  const effects: LifeEffect[] = [{ kind: 'kill' }, { kind: 'failRuns', reason }]
  if (life.kind === 'starting') effects.push({ kind: 'startFailed', reason })
  return { life: { kind: 'closed' }, effects }
}

function loaded(life: Life): LifeStep {
  if (life.kind !== 'starting' && life.kind !== 'restarting') return { life, effects: [] }
  const deaths = life.kind === 'restarting' ? life.deaths : 0
  return {
    life: { kind: 'ready', earlyDeaths: life.earlyDeaths, deaths, finished: 0 },
    effects: [{ kind: 'started' }],
  }
}

function finished(life: Extract<Life, { kind: 'ready' }>): Life {
  const count = life.finished + 1
  return count < provenAfter ? { ...life, finished: count } : { ...life, finished: count, earlyDeaths: 0, deaths: 0 }
}

function exited(life: Life, death: Death, modelPath: string): LifeStep {
  if (life.kind === 'failed' || life.kind === 'closed') return { life, effects: [] }
  const early = life.kind !== 'ready' || (isNativeAbort(death) && life.finished < provenAfter)
  const earlyDeaths = life.earlyDeaths + (early ? 1 : 0)
  if (early && earlyDeaths >= earlyDeathsMax) {
    const when = life.kind === 'ready' ? 'in its first requests' : 'while it was loaded'
    return fail(
      life,
      `The model file ${modelPath} is refused: it ended the engine ${earlyDeaths} times, last ${when} (${how(death)}).`,
    )
  }
  const deaths = life.kind === 'starting' ? earlyDeaths : life.deaths + 1
  const afterMs = Math.min(backoffMaxMs, backoffFirstMs * 2 ** (deaths - 1))
  const effects: LifeEffect[] = [
    { kind: 'failRuns', reason: `the engine ended unexpectedly (${how(death)})` },
    { kind: 'spawn', afterMs },
  ]
  if (life.kind === 'starting') return { life: { ...life, earlyDeaths }, effects }
  return { life: { kind: 'restarting', earlyDeaths, deaths }, effects }
}

function fail(life: Life, reason: string): LifeStep {
  if (life.kind === 'failed') return { life, effects: [] }
  const effects: LifeEffect[] = [{ kind: 'kill' }, { kind: 'failRuns', reason }]
  if (life.kind === 'starting') effects.push({ kind: 'startFailed', reason })
  return { life: { kind: 'failed', reason }, effects }
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
