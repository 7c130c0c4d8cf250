/** Numbers and integers: bounds and `multipleOf`. */
import type { Machine } from './automaton.ts'
import { NothingMatches } from './compile-budget.ts'
import { type Form, formOf, kind } from './form.ts'
import { integersBetween } from './integer-range.ts'
import { has } from './keywords.ts'
import { type NumberBounds, numberMachine } from './number-text.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'
import { automatonRule } from './strings.ts'

export function integerForm(writer: SchemaWriter, schema: SchemaObject, path: string): Form {
  const min = Math.max(
    limitOf(writer, schema, 'minimum', path, Math.ceil),
    limitOf(writer, schema, 'exclusiveMinimum', path, above),
  )
  const max = Math.min(
    limitOf(writer, schema, 'maximum', path, Math.floor),
    limitOf(writer, schema, 'exclusiveMaximum', path, below),
  )
  const multiples = multiplesOf(writer, schema, path)
  const others = excludedMultiples(writer, schema, path)
  if (
    multiples.length + others.length > 0 ||
    [min, max].some((bound) => Number.isFinite(bound) && Math.abs(bound) >= 1e15)
  )
    return boundedNumber(writer, { integer: true, min, max, aboveMin: false, belowMax: false, multiples, others }, path)
  if (min === Number.NEGATIVE_INFINITY && max === Number.POSITIVE_INFINITY) return formOf('integer', kind.number, 4, 3)
  const known = writer.named.get(`integer ${min} ${max}`)
  const range = known ?? rangeRule(writer, min, max, path)
  writer.named.set(`integer ${min} ${max}`, range)
  return formOf(range, kind.number, 8, 6)
}

export function numberForm(writer: SchemaWriter, schema: SchemaObject, path: string): Form {
  const exact = (value: number) => value
  const over = limitOf(writer, schema, 'exclusiveMinimum', path, exact)
  const under = limitOf(writer, schema, 'exclusiveMaximum', path, exact)
  const min = Math.max(limitOf(writer, schema, 'minimum', path, exact), over)
  const max = Math.min(limitOf(writer, schema, 'maximum', path, exact), under)
  const multiples = multiplesOf(writer, schema, path)
  const others = excludedMultiples(writer, schema, path)
  if (min === Number.NEGATIVE_INFINITY && max === Number.POSITIVE_INFINITY && multiples.length + others.length === 0)
    return formOf('number', kind.number, 6, 3)
  return boundedNumber(
    writer,
    { integer: false, min, max, aboveMin: min === over, belowMax: max === under, multiples, others },
    path,
  )
}

function boundedNumber(writer: SchemaWriter, bounds: NumberBounds, path: string): Form {
  if (bounds.min > bounds.max) throw new NothingMatches('minimum', path, 'no number lies between the bounds')
  const machine = numberMachine(bounds)
  const { rule, stacks } = automatonRule(writer, JSON.stringify(bounds), machine as Machine<unknown>, 'minimum', path)
  return formOf(rule, kind.number, stacks + 4, stacks)
}

/** Numbers of which no multiple is allowed. */
function excludedMultiples(writer: SchemaWriter, schema: SchemaObject, path: string): number[] {
  const excluded = has(schema, 'not') ? [schema.not].flat() : []
  return excluded.flatMap((each) => (isSchema(each) ? multiplesOf(writer, each, `${path}/not`) : []))
}

function multiplesOf(writer: SchemaWriter, schema: SchemaObject, path: string): number[] {
  return [schema.multipleOf].flat().filter((each): each is number => {
    if (each === undefined) return false
    if (typeof each === 'number' && each > 0 && numberMachine({ ...unbounded, multiples: [each] })) return true
    writer.unenforced('multipleOf', path, 'it must be a positive number of at most four digits')
    return false
  })
}

function rangeRule(writer: SchemaWriter, min: number, max: number, path: string): string {
  const range = integersBetween(min, max)
  if (range === undefined) throw new NothingMatches('minimum', path, 'no integer lies between the bounds')
  for (const [, max] of range.matchAll(/(\d+)\}/g)) writer.budget.spend('grammarRepeats', Number(max), path)
  return writer.rule(range, path)
}

/** A numeric bound, rounded to the nearest integer that satisfies it; infinite if absent. */
function limitOf(
  writer: SchemaWriter,
  schema: SchemaObject,
  keyword: string,
  path: string,
  round: (value: number) => number,
): number {
  const value = has(schema, keyword) ? schema[keyword] : undefined
  const none = keyword.endsWith('inimum') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
  // JSON numbers beyond the largest finite one arrive as that number.
  if (typeof value === 'number' && Math.abs(value) >= Number.MAX_VALUE) return value * 2
  if (typeof value === 'number' && !Number.isNaN(value)) return round(value)
  if (value !== undefined && value !== null) writer.unenforced(keyword, path, 'it must be a number')
  return none
}

const unbounded = {
  integer: false,
  min: Number.NEGATIVE_INFINITY,
  max: Number.POSITIVE_INFINITY,
  aboveMin: false,
  belowMax: false,
  others: [],
}

const above = (value: number) => Math.floor(value) + 1
const below = (value: number) => Math.ceil(value) - 1
