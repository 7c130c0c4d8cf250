/** Pairs of counts such as `minItems` and `maxItems`. */
import { NothingMatches } from './compile-budget.ts'
import { has } from './keywords.ts'
import type { SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'

/** A pair of counts. Every bound that becomes a repetition is read here. */
export function countsOf(
  writer: SchemaWriter,
  schema: SchemaObject,
  low: string,
  high: string,
  path: string,
): [number, number] {
  const min = count(writer, schema, low, path) ?? 0
  const max = count(writer, schema, high, path) ?? Number.POSITIVE_INFINITY
  if (min <= max) return [min, max]
  throw new NothingMatches(low, path, `${low} is more than ${high} (${min} and ${max}). Use at most ${max}`)
}

function count(writer: SchemaWriter, schema: SchemaObject, keyword: string, path: string): number | undefined {
  const value = has(schema, keyword) ? schema[keyword] : undefined
  // Adding zero turns -0 into 0, whose text the grammar reader accepts.
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value + 0
  if (value !== undefined && value !== null) writer.unenforced(keyword, path, 'it must be a non-negative integer')
  return undefined
}
