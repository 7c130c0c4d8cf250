/** The process that judges one schema at a time with the real grammar engine. Its parent bounds its memory. */
import { compileSchema, jsonRules } from '../../../gpu-worker/engine/schema/compile-schema.ts'
import { accepts } from '../../gpu-worker/engine/accepts.ts'

export interface JudgeQuestion {
  schema: unknown
  texts: string[]
}

export type JudgeAnswer = { ok: true; accepted: boolean[] } | { ok: false; keyword: string; reason: string }

process.on('message', ({ schema, texts }: JudgeQuestion) => {
  const compiled = compileSchema(schema, 'root', true)
  if (!compiled.ok) return answer({ ok: false, keyword: compiled.keyword, reason: compiled.reason })
  answer({ ok: true, accepted: texts.map(accepts([...compiled.rules, ...jsonRules].join('\n'))) })
})
process.on('disconnect', () => process.exit(0))

function answer(message: JudgeAnswer): void {
  process.send?.(message)
}
