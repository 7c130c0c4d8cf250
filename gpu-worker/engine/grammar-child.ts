/**
 * The process that compiles the schemas of one request at a time and checks that the library can read the grammar,
 * without a model. Its parent ends it when a request takes too long or too much memory: only that request fails.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { EngineRefusal } from './engine.ts'
import {
  anyArguments,
  type CallsJob,
  compileGrammars,
  type GrammarJob,
  type Grammars,
  looseContent,
  type SchemaJob,
} from './grammar.ts'
import { loadGrammarReader } from './grammar-reader.ts'
import type { Grammar } from './messages.ts'
import { endWithParent } from './orphan.ts'

export type ToGrammarChild = { id: number; job: GrammarJob }
export type FromGrammarChild = { kind: 'ready' } | { kind: 'answer'; id: number; answer: Grammars | EngineRefusal }

endWithParent()
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
const read = await loadGrammarReader()
process.on('message', ({ id, job }: ToGrammarChild) => send({ kind: 'answer', id, answer: answerOf(job) }))
send({ kind: 'ready' })

function answerOf(job: GrammarJob): Grammars | EngineRefusal {
  const compiled = compileGrammars(job)
  if (!compiled.ok) return compiled
  const loose = compiled.content && job.content?.kind === 'schema' && !reads(compiled.content)
  const format = loose ? looseContent(job.content as SchemaJob, tooLarge) : compiled
  if (!format.ok) return format
  // Tools get looser rules if their own are too large.
  const looseCall = compiled.call && job.call && !reads(compiled.call)
  const call = looseCall ? anyArguments(job.call as CallsJob, tooLarge) : compiled.call
  if (call && 'ok' in call) return call
  return {
    ok: true,
    content: format.content,
    call,
    warnings: [
      ...compiled.warnings,
      ...(loose ? format.warnings : []),
      ...(looseCall ? [`tools: any JSON object is accepted as arguments, because ${tooLarge}`] : []),
    ],
  }
}

const tooLarge = 'it is too large to be enforced. Use smaller bounds or fewer alternatives'

/** Whether the library reads the grammar in time: the engine process reads it again while other requests wait. */
function reads({ text }: Grammar): boolean {
  const before = process.cpuUsage()
  if (!read(text)) return false
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000 <= budgets.grammarReadMs.value
}

function send(message: FromGrammarChild): void {
  process.send?.(message, () => {})
}
