/**
 * Merges schemas that apply to the same value, as in `allOf`, into one schema. `pattern`, `format` and `multipleOf`
 * become lists if they differ: all of the list apply.
 */
import { grouped, isSchema, itemsOf, type SchemaObject, same } from './schema-parts.ts'

export interface Merger {
  spend(compared: number): void
  /** Called for two values of a keyword that cannot be merged. */
  unmerged(keyword: string): void
  matches(pattern: string, text: string): boolean
}

/** Keywords that do not constrain the value. */
const annotations = new Set([
  ...['$schema', '$id', 'id', '$anchor', '$comment', '$defs', '$vocabulary', 'definitions', 'title', 'description'],
  ...['default', 'examples', 'example', 'deprecated', 'readOnly', 'writeOnly', 'strict', 'contentEncoding'],
  ...['contentMediaType', 'contentSchema', 'discriminator', '$dynamicAnchor', '$recursiveAnchor'],
])

const greatest = new Set(['minimum', 'exclusiveMinimum', 'minLength', 'minItems', 'minProperties'])
const least = new Set(['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems', 'maxProperties'])
const lists = new Set(['pattern', 'format', 'multipleOf'])
const ofObjects = new Set(['properties', 'patternProperties', 'additionalProperties', 'unevaluatedProperties'])
const ofArrays = new Set(['items', 'prefixItems', 'additionalItems', 'unevaluatedItems'])

/** Returns false if no value matches both. */
export function mergeSchemas(a: SchemaObject, b: SchemaObject, merger: Merger): SchemaObject | false {
  const result: SchemaObject = Object.create(null)
  const entries = [...Object.entries(grouped(a)), ...Object.entries(grouped(b))]
  for (const [key, value] of entries) {
    merger.spend(1)
    if (annotations.has(key) || value === undefined || ofObjects.has(key) || ofArrays.has(key)) continue
    if (key === 'const') continue
    if (!Object.hasOwn(result, key)) result[key] = value
    else if (!same(result[key], value, merger.spend)) result[key] = combined(key, result[key], value, merger)
  }
  const values = valuesOf(a, b, merger)
  if (values) {
    if (values.length === 0) return false
    result.enum = values
  }
  if (Array.isArray(result.type) && result.type.length === 0) return false
  Object.assign(result, mergedObjects(a, b, merger), mergedItems(a, b))
  return result
}

function combined(key: string, a: unknown, b: unknown, merger: Merger): unknown {
  if (greatest.has(key) && typeof a === 'number' && typeof b === 'number') return Math.max(a, b)
  if (least.has(key) && typeof a === 'number' && typeof b === 'number') return Math.min(a, b)
  if (lists.has(key)) return [...new Set([a, b].flat())]
  if (key === 'type') return types(a, b)
  if (key === 'required' && Array.isArray(a) && Array.isArray(b)) return union(a, b, merger)
  if (key === 'uniqueItems' || key === 'nullable') return key === 'uniqueItems' ? a === true || b === true : false
  if (key === 'not' || key === 'if' || key === 'contains') return [a, b].flat()
  if (dependent.has(key) && isSchema(a) && isSchema(b)) return mergedDependents(a, b)
  if (key === 'propertyNames') return { allOf: [a, b] }
  if (key === 'allOf' && Array.isArray(a) && Array.isArray(b)) return [...a, ...b]
  if ((key === 'anyOf' || key === 'oneOf') && Array.isArray(a))
    return a.map((each) => ({ allOf: [each, { [key]: b }] }))
  if (key === 'enum') return a
  if (constraining.has(key)) merger.unmerged(key)
  return a
}

const dependent = new Set(['dependentRequired', 'dependentSchemas', 'dependencies'])
const constraining = new Set([...greatest, ...least, 'required', ...dependent, '$ref', '$dynamicRef', '$recursiveRef'])

function mergedDependents(a: SchemaObject, b: SchemaObject): SchemaObject {
  const schemaOf = (each: unknown) => (Array.isArray(each) ? { required: each } : each)
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])]
  return Object.fromEntries(
    names.map((name) => {
      const [first, second] = [a, b].map((list) => (Object.hasOwn(list, name) ? list[name] : undefined))
      if (first === undefined || second === undefined) return [name, first ?? second]
      if (Array.isArray(first) && Array.isArray(second)) return [name, [...first, ...second]]
      return [name, { allOf: [schemaOf(first), schemaOf(second)] }]
    }),
  )
}

function union(a: readonly unknown[], b: readonly unknown[], merger: Merger): unknown[] {
  const all = new Set([...a, ...b])
  merger.spend(all.size)
  return [...all]
}

function types(a: unknown, b: unknown): string[] {
  const [first, second] = [[a].flat().map(String), [b].flat().map(String)]
  const within = (list: string[], type: string) =>
    list.includes(type) || (type === 'integer' && list.includes('number'))
  return [
    ...new Set([...first.filter((type) => within(second, type)), ...second.filter((type) => within(first, type))]),
  ]
}

/** The values of `const` and `enum` that both schemas list. */
function valuesOf(a: SchemaObject, b: SchemaObject, merger: Merger): unknown[] | undefined {
  const all = [a, b].flatMap((schema) => [
    ...(Object.hasOwn(schema, 'const') ? [[schema.const]] : []),
    ...(Array.isArray(schema.enum) ? [schema.enum as unknown[]] : []),
  ])
  const [first, ...others] = all
  return first?.filter((value) => others.every((list) => list.some((each) => same(each, value, merger.spend))))
}

function mergedObjects(a: SchemaObject, b: SchemaObject, merger: Merger): SchemaObject {
  if (![a, b].some((schema) => [...ofObjects].some((key) => Object.hasOwn(schema, key)))) return {}
  const names = new Set([a, b].flatMap(({ properties }) => Object.keys(isSchema(properties) ? properties : {})))
  const properties: SchemaObject = Object.create(null)
  for (const name of names) {
    merger.spend(1)
    properties[name] = allOf(propertyOf(a, name, merger), propertyOf(b, name, merger))
  }
  const patterns = [a, b].map((schema) => (isSchema(schema.patternProperties) ? schema.patternProperties : {}))
  const [first = {}, second = {}] = patterns
  const others = [othersOf(a), othersOf(b)]
  // Names that match a pattern of one schema only are also names without a pattern in the other schema.
  if (
    others.some(
      (other, index) =>
        other !== undefined &&
        Object.keys(patterns[1 - index] ?? {}).some((key) => !Object.hasOwn(patterns[index] ?? {}, key)),
    )
  )
    merger.unmerged('patternProperties')
  const patternProperties: SchemaObject = Object.assign(Object.create(null), first)
  for (const [pattern, schema] of Object.entries(second))
    patternProperties[pattern] = allOf(patternProperties[pattern], schema)
  const additionalProperties = allOf(others[0], others[1])
  return {
    ...(names.size > 0 && { properties }),
    ...(Object.keys(patternProperties).length > 0 && { patternProperties }),
    ...(additionalProperties !== undefined && { additionalProperties }),
  }
}

function othersOf({ additionalProperties, unevaluatedProperties }: SchemaObject): unknown {
  return additionalProperties ?? unevaluatedProperties
}

/** The schema that applies to the property, without `patternProperties` if it is listed; undefined for any value. */
function propertyOf(schema: SchemaObject, name: string, merger: Merger): unknown {
  const { properties, patternProperties } = schema
  if (isSchema(properties) && Object.hasOwn(properties, name)) return properties[name]
  const patterns = Object.keys(isSchema(patternProperties) ? patternProperties : {})
  return patterns.some((pattern) => merger.matches(pattern, name)) ? undefined : othersOf(schema)
}

function mergedItems(a: SchemaObject, b: SchemaObject): SchemaObject {
  if (![a, b].some((schema) => [...ofArrays].some((key) => Object.hasOwn(schema, key)))) return {}
  const [first, second] = [itemsOf(a), itemsOf(b)]
  const length = Math.max(first.prefix.length, second.prefix.length)
  const at = ({ prefix, rest }: ReturnType<typeof itemsOf>, index: number) =>
    index < prefix.length ? prefix[index] : rest
  const prefixItems = Array.from({ length }, (_, index) => allOf(at(first, index), at(second, index)) ?? true)
  const items = allOf(first.rest, second.rest)
  return { ...(length > 0 && { prefixItems }), ...(items !== undefined && { items }) }
}

function allOf(a: unknown, b: unknown): unknown {
  if (a === undefined || a === true) return b ?? a
  if (b === undefined || b === true) return a
  if (a === false || b === false) return false
  return same(a, b) ? a : { allOf: [a, b] }
}
