/** Whether a JSON value matches a schema. Only the values of `enum` and `const` are checked here. */
import { groupsOf, isOf, isSchema, itemsOf, type SchemaObject, same } from './schema-parts.ts'

export interface ValueReader {
  target(ref: string, from: unknown): unknown
  matches(pattern: string, text: string): boolean
  format(format: unknown): string | undefined
  spend(): void
}

export function isValue(value: unknown, schema: unknown, reader: ValueReader): boolean {
  reader.spend()
  if (schema === false) return false
  if (!isSchema(schema)) return true
  const matches = (each: unknown) => isValue(value, each, reader)
  const list = (key: string) => (Array.isArray(schema[key]) ? (schema[key] as unknown[]) : undefined)
  const { type, nullable, not } = schema
  const types = type === undefined ? undefined : [type].flat()
  if (types && !types.some((each) => isOf(value, String(each))) && !(nullable === true && value === null)) return false
  if (typeof schema.$ref === 'string' && !matches(reader.target(schema.$ref, schema))) return false
  if (Object.hasOwn(schema, 'const') && !same(schema.const, value)) return false
  if (list('enum')?.some((each) => same(each, value)) === false) return false
  if (list('allOf')?.every(matches) === false || list('anyOf')?.some(matches) === false) return false
  const one = list('oneOf')
  if (one && one.filter(matches).length !== 1) return false
  if (Object.hasOwn(schema, 'not') && [not].flat().some(matches)) return false
  if (isSchema(value) && !isDependent(value, schema, reader)) return false
  const decided = (group: SchemaObject) => matches(matches(group.if) ? group.then : group.else)
  if (!groupsOf(schema, 'if').every(decided)) return false
  if (typeof value === 'string') return isString(value, schema, reader)
  if (typeof value === 'number') return isNumber(value, schema)
  if (Array.isArray(value)) return isArray(value, schema, reader)
  return !isSchema(value) || isObject(value, schema, reader)
}

function isString(value: string, schema: SchemaObject, reader: ValueReader): boolean {
  const length = [...value].length
  if (above(schema.minLength, length) || below(schema.maxLength, length)) return false
  const patterns = [schema.pattern, ...[schema.format].flat().map((each) => reader.format(each))].flat()
  return patterns.every((each) => typeof each !== 'string' || reader.matches(each, value))
}

function isNumber(value: number, schema: SchemaObject): boolean {
  const { exclusiveMinimum: over, exclusiveMaximum: under, multipleOf: step } = schema
  if (above(schema.minimum, value) || below(schema.maximum, value)) return false
  if ((typeof over === 'number' && value <= over) || (typeof under === 'number' && value >= under)) return false
  return [step]
    .flat()
    .every((each) => typeof each !== 'number' || Number.isInteger(Number((value / each).toPrecision(15))))
}

function isArray(value: unknown[], schema: SchemaObject, reader: ValueReader): boolean {
  if (above(schema.minItems, value.length) || below(schema.maxItems, value.length)) return false
  const { prefix, rest } = itemsOf(schema)
  if (!value.every((each, index) => isValue(each, index < prefix.length ? prefix[index] : rest, reader))) return false
  if (
    schema.uniqueItems === true &&
    value.some((each, index) => value.slice(0, index).some((other) => same(each, other)))
  )
    return false
  return groupsOf(schema, 'contains').every(({ contains, minContains, maxContains }) => {
    const found = value.filter((each) => isValue(each, contains, reader)).length
    return !above(minContains ?? 1, found) && !below(maxContains, found)
  })
}

/** `dependentRequired`, `dependentSchemas`, and `dependencies` of the older drafts. */
function isDependent(value: SchemaObject, schema: SchemaObject, reader: ValueReader): boolean {
  const has = (name: unknown) => Object.hasOwn(value, String(name))
  return [schema.dependentRequired, schema.dependentSchemas, schema.dependencies].every((list) =>
    Object.entries(isSchema(list) ? list : {}).every(
      ([name, each]) => !has(name) || (Array.isArray(each) ? each.every(has) : isValue(value, each, reader)),
    ),
  )
}

function isObject(value: SchemaObject, schema: SchemaObject, reader: ValueReader): boolean {
  const names = Object.keys(value)
  const has = (name: unknown) => Object.hasOwn(value, String(name))
  if (above(schema.minProperties, names.length) || below(schema.maxProperties, names.length)) return false
  if (Array.isArray(schema.required) && !schema.required.every(has)) return false
  const properties = isSchema(schema.properties) ? schema.properties : {}
  const patterns = Object.entries(isSchema(schema.patternProperties) ? schema.patternProperties : {})
  return names.every((name) => {
    if (!isValue(name, schema.propertyNames, reader)) return false
    const schemas = patterns.flatMap(([pattern, each]) => (reader.matches(pattern, name) ? [each] : []))
    if (Object.hasOwn(properties, name)) schemas.push(properties[name])
    if (schemas.length === 0) schemas.push(schema.additionalProperties ?? schema.unevaluatedProperties)
    return schemas.every((each) => isValue(value[name], each, reader))
  })
}

const above = (bound: unknown, value: number) => typeof bound === 'number' && value < bound
const below = (bound: unknown, value: number) => typeof bound === 'number' && value > bound
