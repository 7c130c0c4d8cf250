/**
 * Reads values with a schema. The first fault names the field as OpenAI does (`messages[0].content`) and says in plain
 * words what the field must be. A schema that has its own text for a fault keeps it.
 */
import type { z } from 'zod'

export interface FieldFault {
  /** Path of the field; null for the whole value. */
  field: string | null
  /** Begins with a verb: "must be at least 1, not 0." */
  message: string
}

export type FieldsRead<Data> = { ok: true; data: Data } | { ok: false; fault: FieldFault }

export function readFields<Schema extends z.ZodType>(schema: Schema, value: unknown): FieldsRead<z.infer<Schema>> {
  const parsed = schema.safeParse(value, { error: plainText })
  return parsed.success ? { ok: true, data: parsed.data } : { ok: false, fault: firstFault(parsed.error) }
}

/** "temperature: must be at most 2, not 3." */
export function faultText({ field, message }: FieldFault, whole = 'body'): string {
  return `${field ?? whole}: ${message}`
}

type Issue = z.core.$ZodIssue

function firstFault({ issues }: z.ZodError): FieldFault {
  const issue = issues[0]
  if (!issue) return { field: null, message: 'is not valid.' }
  const { path, message } = meant(issue)
  return { field: pathText(path) || null, message }
}

/** A union fails with one list of issues per branch. The branch with the deepest issue is the one the client meant. */
function meant(issue: Issue): { path: PropertyKey[]; message: string } {
  const { path, message } = issue
  if (issue.code === 'unrecognized_keys') return { path: [...path, ...issue.keys.slice(0, 1)], message }
  if (issue.code !== 'invalid_union') return { path, message }
  const inner = issue.errors
    .flatMap((branch) => branch.slice(0, 1).map(meant))
    .reduce((best, each) => (each.path.length > best.path.length ? each : best), { path: [] as PropertyKey[], message })
  return { path: [...path, ...inner.path], message: inner.message }
}

function pathText(keys: readonly PropertyKey[]): string {
  return keys.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`
    return text ? `${text}.${String(key)}` : String(key)
  }, '')
}

type RawIssue = z.core.$ZodRawIssue

/** Zod's error map: a text for each fault that the schema has no own text for. */
function plainText(issue: RawIssue): string {
  switch (issue.code) {
    case 'invalid_type': {
      const wanted = noun(isWholeNumber(issue) ? 'int' : issue.expected)
      if (Number.isNaN(issue.input)) return `must be ${wanted}.`
      return issue.input === undefined ? `is missing. Add ${wanted}.` : `must be ${wanted}, not ${nounOf(issue.input)}.`
    }
    case 'too_small':
      if (Number(issue.minimum) === 1 && issue.origin !== 'number' && issue.origin !== 'int')
        return 'must not be empty.'
      return bound(issue, 'least', issue.minimum)
    case 'too_big':
      return bound(issue, 'most', issue.maximum)
    case 'invalid_format':
      return formatText(issue)
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}.`
    case 'unrecognized_keys':
      return 'is not a known field. Remove it, or check its spelling.'
    case 'invalid_value':
      return `must be ${oneOf(issue.values.map(quoted))}.`
    case 'invalid_union':
      return unionText(issue)
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues[0]?.message ?? 'is not valid.'
    default:
      return 'is not valid.'
  }
}

/** Zod reports a value that is no number at all as not a number, also where the schema wants a whole one. */
function isWholeNumber({ expected, inst }: Extract<RawIssue, { code: 'invalid_type' }>): boolean {
  const def = inst?._zod.def
  return expected === 'number' && def !== undefined && 'format' in def && def.format === 'safeint'
}

function bound(
  issue: Extract<RawIssue, { code: 'too_small' | 'too_big' }>,
  word: 'least' | 'most',
  limit: number | bigint,
): string {
  const { origin, inclusive = true } = issue
  if (origin === 'string') return `must have ${issue.exact ? 'exactly' : `at ${word}`} ${limit} characters.`
  if (origin !== 'number' && origin !== 'int' && origin !== 'bigint' && origin !== 'date')
    return `must have ${issue.exact ? 'exactly' : `at ${word}`} ${limit} ${Number(limit) === 1 ? 'item' : 'items'}.`
  const given = typeof issue.input === 'number' ? `, not ${issue.input}` : ''
  if (inclusive) return `must be at ${word} ${limit}${given}.`
  return `must be ${word === 'least' ? 'above' : 'below'} ${limit}${given}.`
}

const formats: Record<string, string> = {
  url: 'must be a URL, for example https://example.com/path.',
  email: 'must be an email address.',
  datetime: 'must be a time in ISO 8601, for example 2026-01-31T12:00:00Z.',
  date: 'must be a date, for example 2026-01-31.',
  uuid: 'must be a UUID.',
  base64: 'must be base64.',
  regex: 'has the wrong form.',
}

function formatText(issue: Extract<RawIssue, { code: 'invalid_format' }>): string {
  if (issue.format === 'regex' && 'pattern' in issue) return `must match ${issue.pattern}.`
  if (issue.format === 'starts_with' && 'prefix' in issue) return `must begin with ${quoted(issue.prefix)}.`
  return formats[issue.format] ?? `must be in the format ${issue.format}.`
}

function unionText(issue: Extract<RawIssue, { code: 'invalid_union' }>): string {
  const options = 'options' in issue && Array.isArray(issue.options) ? issue.options : []
  if (options.length > 0) return `must be ${oneOf(options.map(quoted))}.`
  const wanted = issue.errors.flatMap((branch) => (branch[0] ? wantedBy(branch[0]) : []))
  if (wanted.length < issue.errors.length) return 'has none of the allowed forms.'
  const text = oneOf([...new Set(wanted)])
  return issue.input === undefined ? `is missing. Add ${text}.` : `must be ${text}, not ${nounOf(issue.input)}.`
}

/** The values that one branch of a union wants at the union's own path. */
function wantedBy(issue: Issue): string[] {
  if (issue.path.length > 0) return []
  if (issue.code === 'invalid_type') return [noun(issue.expected)]
  if (issue.code === 'invalid_value') return issue.values.map(quoted)
  return []
}

const nouns: Record<string, string> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a string',
  boolean: 'true or false',
  array: 'an array',
  tuple: 'an array',
  object: 'an object',
  record: 'an object',
  null: 'null',
}

function noun(expected: string): string {
  return nouns[expected] ?? `a ${expected}`
}

/** Never quotes text of the client: it can be long. */
function nounOf(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value === 'number') return String(value)
  if (typeof value === 'boolean') return String(value)
  return noun(Array.isArray(value) ? 'array' : typeof value)
}

function quoted(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

function oneOf(texts: readonly string[]): string {
  const last = texts.at(-1) ?? ''
  return texts.length < 2 ? last : `${texts.slice(0, -1).join(', ')} or ${last}`
}
