/**
 * The process that compiles one schema at a time, samples texts of its grammar and checks them with ajv. Its parent
 * bounds its time and memory.
 */
import { Ajv, type Options, type ValidateFunction } from 'ajv'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { loadGrammarReader } from '../../../gpu-worker/engine/grammar-reader.ts'
import { compileSchema, jsonRules } from '../../../gpu-worker/engine/schema/compile-schema.ts'
import { sampler } from '../../gpu-worker/engine/grammar-sample.ts'
import { randomOf } from './seeded.ts'

export interface SampleQuestion {
  schema: Record<string, unknown>
  texts: number
  seed: number
}

/** `wrong` has the texts that are not values of the schema; undefined if ajv cannot read the schema. */
export type SampleAnswer =
  | { kind: 'enforced'; wrong: string[] | undefined }
  | { kind: 'warned'; warnings: string[] }
  | { kind: 'refused'; keyword: string; reason: string }

const read = await loadGrammarReader()
process.on('message', (question: SampleQuestion) => process.send?.(answerTo(question)))
process.on('disconnect', () => process.exit(0))
process.send?.('ready')

function answerTo({ schema, texts, seed }: SampleQuestion): SampleAnswer {
  const bytes = JSON.stringify(schema).length
  const strict = compileSchema(schema, 'root', true, undefined, bytes)
  if (!strict.ok) {
    const loose = compileSchema(schema, 'root', false, undefined, bytes)
    return loose.ok
      ? { kind: 'warned', warnings: loose.warnings }
      : { kind: 'refused', keyword: loose.keyword, reason: loose.reason }
  }
  const grammar = [...strict.rules, ...jsonRules].join('\n')
  if (!read(grammar)) return { kind: 'refused', keyword: 'schema', reason: 'the library refuses its grammar' }
  const validate = validatorOf(schema)
  if (!validate) return { kind: 'enforced', wrong: undefined }
  const write = sampler(grammar, randomOf(seed))
  const wrong = Array.from({ length: texts }, write).flatMap((text) =>
    validate(JSON.parse(text)) ? [] : [`${text.slice(0, 400)}: ${JSON.stringify(validate.errors?.[0]).slice(0, 400)}`],
  )
  return { kind: 'enforced', wrong }
}

function validatorOf(schema: Record<string, unknown>): ValidateFunction | undefined {
  const draft = String(schema.$schema)
  const kind = draft.includes('2020-12') ? Ajv2020 : draft.includes('2019-09') ? Ajv2019 : Ajv
  const options: Options = { strict: false, validateFormats: false, validateSchema: false, logger: false }
  const { $schema: _, ...modern } = withoutDraft4(schema) as Record<string, unknown>
  // Some patterns are valid only without the flag for Unicode.
  for (const unicodeRegExp of [true, false]) {
    try {
      return new kind({ ...options, unicodeRegExp }).compile(modern)
    } catch {}
  }
  return undefined
}

/** Writes the keywords of draft 4 as those of draft 7, which ajv reads. */
function withoutDraft4(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDraft4)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value as Record<string, unknown>).flatMap(([key, each]): [string, unknown][] => {
    const bound = { exclusiveMinimum: 'minimum', exclusiveMaximum: 'maximum' }[key]
    if (bound && typeof each === 'boolean') return each ? [[key, (value as Record<string, unknown>)[bound]]] : []
    if (key === 'id' && typeof each === 'string') return [['$id', each]]
    return [[key, withoutDraft4(each)]]
  })
  return Object.fromEntries(entries)
}
