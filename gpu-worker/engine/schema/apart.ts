/**
 * Whether no value can match two schemas.
 *
 * This compares the schemas, not their grammars: a grammar accepts only a part of what its schema matches. The answer
 * `false` is always safe.
 */
import { has } from './keywords.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'

export interface ApartReader {
  target(ref: string, from: SchemaObject): unknown
  /** Whether the value matches the schema; true if that is not known. */
  isValue(value: unknown, schema: unknown): boolean
  matches(pattern: string, text: string): boolean
  /** Charges one comparison. */
  spend(): void
}

/** Properties and references are followed to this depth. */
const depthMax = 6
const listedMax = 64
const jsonTypes = ['object', 'array', 'string', 'number', 'boolean', 'null']

export function areApart(a: unknown, b: unknown, reader: ApartReader, depth = 0): boolean {
  reader.spend()
  if (a === false || b === false) return true
  if (!isSchema(a) || !isSchema(b) || depth > depthMax) return false
  const again = (first: unknown, second: unknown) => areApart(first, second, reader, depth + 1)
  if (typeof a.$ref === 'string' && again(reader.target(a.$ref, a), b)) return true
  if (typeof b.$ref === 'string' && again(a, reader.target(b.$ref, b))) return true
  for (const key of ['anyOf', 'oneOf']) {
    if (Array.isArray(a[key]) && (a[key] as unknown[]).every((each) => again(each, b))) return true
    if (Array.isArray(b[key]) && (b[key] as unknown[]).every((each) => again(a, each))) return true
  }
  for (const each of Array.isArray(a.allOf) ? a.allOf : []) if (again(each, b)) return true
  for (const each of Array.isArray(b.allOf) ? b.allOf : []) if (again(a, each)) return true
  const [first, second] = [typesOf(a), typesOf(b)]
  const shared = first.filter((type) => second.includes(type))
  if (shared.length === 0) return true
  if (isListApart(a, b, reader) || isListApart(b, a, reader)) return true
  return shared.every((type) => {
    if (type === 'number') return isBelow(a, b) || isBelow(b, a)
    return type === 'object' && (isObjectApart(a, b, reader, again) || isObjectApart(b, a, reader, again))
  })
}

/** The types of which the schema may match a value. */
function typesOf({ type, nullable, ...rest }: SchemaObject): string[] {
  const values = has(rest, 'const') ? [rest.const] : Array.isArray(rest.enum) ? rest.enum : undefined
  if (values)
    return [...new Set(values.map((each) => (each === null ? 'null' : Array.isArray(each) ? 'array' : typeof each)))]
  if (type === undefined) return jsonTypes
  const named = [type].flat().map((each) => (each === 'integer' ? 'number' : String(each)))
  return nullable === true ? [...named, 'null'] : named
}

function isListApart(a: SchemaObject, b: SchemaObject, reader: ApartReader): boolean {
  const values = has(a, 'const') ? [a.const] : Array.isArray(a.enum) ? a.enum : undefined
  return values !== undefined && values.length <= listedMax && values.every((each) => !reader.isValue(each, b))
}

function isBelow(a: SchemaObject, b: SchemaObject): boolean {
  const highest = Math.min(numberOr(a.maximum, Infinity), numberOr(a.exclusiveMaximum, Infinity))
  const lowest = Math.max(numberOr(b.minimum, -Infinity), numberOr(b.exclusiveMinimum, -Infinity))
  return highest < lowest || (highest === lowest && (a.exclusiveMaximum === highest || b.exclusiveMinimum === lowest))
}

function numberOr(value: unknown, otherwise: number): number {
  return typeof value === 'number' ? value : otherwise
}

/** Whether a required property of `a` is impossible in `b`. */
function isObjectApart(
  a: SchemaObject,
  b: SchemaObject,
  reader: ApartReader,
  areApart: (a: unknown, b: unknown) => boolean,
): boolean {
  const own = isSchema(a.properties) ? a.properties : {}
  const others = isSchema(b.properties) ? b.properties : {}
  const patterns = Object.keys(isSchema(b.patternProperties) ? b.patternProperties : {})
  return (Array.isArray(a.required) ? a.required.map(String) : []).some((name) => {
    if (has(others, name)) return areApart(has(own, name) ? own[name] : true, others[name])
    return b.additionalProperties === false && !patterns.some((pattern) => reader.matches(pattern, name))
  })
}
