/**
 * The process that owns the model. A native abort ends this process and not the worker.
 *
 * When the channel to its parent closes, it kills itself with a signal: the library's threads may be in the middle of a
 * batch, and an orderly exit would wait or crash.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { budgets } from '../../backends/model/budgets.ts'
import { type Llama, loadLlama } from './llama.ts'
import type { FromChild, LoadOptions, ToChild } from './messages.ts'
import { endWithParent } from './orphan.ts'
import { Scheduler } from './scheduler.ts'
import { createTokenise, type Tokenise } from './tokenise.ts'

interface ChildEngine {
  llama: Llama
  scheduler: Scheduler
  tokenise: Tokenise
}

let engine: ChildEngine | undefined
/** Tokenisations in progress, by request id. */
const tokenising = new Map<number, AbortController>()

endWithParent()
setInterval(() => send({ kind: 'alive', steps: engine?.scheduler.steps ?? 0 }), budgets.engineBeatMs.value)
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
process.on('message', (message: ToChild) => {
  if (message.kind === 'load') load(message.options)
  else if (!engine) return
  else if (message.kind === 'run') engine.scheduler.run(message.id, message.job)
  else if (message.kind === 'abort') engine.scheduler.abort(message.id)
  else if (message.kind === 'forget') tokenising.get(message.id)?.abort()
  else tokens(engine, message)
})

async function load(options: LoadOptions): Promise<void> {
  try {
    const llama = await loadLlama(options)
    const scheduler = new Scheduler({
      decoder: llama,
      options,
      report: (report) => send({ kind: 'step', report }),
      fail,
      clock,
    })
    engine = {
      llama,
      scheduler,
      tokenise: createTokenise(
        llama.tokenise,
        () => turn(),
        () => performance.now(),
      ),
    }
    send({ kind: 'ready', version: llama.version })
  } catch (error) {
    process.send?.({ kind: 'refused', reason: reasonOf(error) } satisfies FromChild, () => process.exit(1))
  }
}

async function tokens(
  { tokenise }: ChildEngine,
  { id, pieces }: Extract<ToChild, { kind: 'tokenise' }>,
): Promise<void> {
  const stop = new AbortController()
  tokenising.set(id, stop)
  const tokens = await tokenise(pieces, stop.signal)
  tokenising.delete(id)
  if (tokens) send({ kind: 'tokens', id, tokens })
}

function clock(): { wall: number; processor: number } {
  const { user, system } = process.cpuUsage()
  return { wall: performance.now(), processor: (user + system) / 1_000 }
}

function send(message: FromChild): void {
  process.send?.(message)
}

function fail(error: unknown): void {
  console.error(reasonOf(error))
  process.exit(1)
}

/** The first line without its full stop, because it becomes part of a sentence. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return (message.split('\n')[0] ?? message).replace(/\.$/, '')
}
