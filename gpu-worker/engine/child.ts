/**
 * The process that owns the model. A native abort ends this process and never the worker.
 *
 * It lives only for its parent: when the channel closes it ends at once, by signal, because the library's threads may
 * be in the middle of a batch and would make an orderly exit wait or crash.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { type Llama, loadLlama } from './llama.ts'
import type { FromChild, LoadOptions, ToChild } from './messages.ts'
import { Scheduler } from './scheduler.ts'
import { createTokenise, type Tokenise } from './tokenise.ts'

interface Engine {
  llama: Llama
  scheduler: Scheduler
  tokenise: Tokenise
}

let engine: Engine | undefined

process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
process.on('message', (message: ToChild) => {
  if (message.kind === 'load') load(message.options)
  else if (!engine) return
  else if (message.kind === 'run') engine.scheduler.run(message.id, message.job)
  else if (message.kind === 'abort') engine.scheduler.abort(message.id)
  else tokens(engine, message)
})

async function load(options: LoadOptions): Promise<void> {
  try {
    const llama = await loadLlama(options)
    const scheduler = new Scheduler(llama, options, (report) => send({ kind: 'step', report }), fail)
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
  { llama, tokenise }: Engine,
  { id, pieces, grammars }: Extract<ToChild, { kind: 'tokenise' }>,
): Promise<void> {
  const badGrammars = grammars.flatMap((grammar, index) => (llama.validGrammar(grammar) ? [] : [index]))
  send({ kind: 'tokens', id, tokens: await tokenise(pieces), badGrammars })
}

function send(message: FromChild): void {
  process.send?.(message)
}

function fail(error: unknown): void {
  console.error(reasonOf(error))
  process.exit(1)
}

/** One line without its full stop, since it becomes part of a sentence. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return (message.split('\n')[0] ?? message).replace(/\.$/, '')
}
