/**
 * The values that a schema does not match, as alternative schemas.
 *
 * The alternatives never contain a value that the schema matches. Some of the other values may be in none of them: the
 * negation of `uniqueItems`, `patternProperties` and `propertyNames` is left out. A list in `not` excludes each of its
 * schemas; the compiler makes such lists when it merges schemas.
 */
import { has } from './keywords.ts'
import { groupsOf, isSchema, itemsOf, type SchemaObject } from './schema-parts.ts'
import { formatPattern } from './string-format.ts'

/** @param target the schema of a `$ref` in `schema` */
export function negationOf(schema: unknown, target: (ref: string, from: SchemaObject) => unknown): unknown[] {
  if (schema === false) return [true]
  if (!isSchema(schema)) return []
  const { $ref } = schema
  const referred = typeof $ref === 'string' ? [{ not: [target($ref, schema)] }] : []
  return [
    ...referred,
    ...typesNegated(schema),
    ...valuesNegated(schema),
    ...branchesNegated(schema),
    ...numbersNegated(schema),
    ...stringsNegated(schema),
    ...arraysNegated(schema),
    ...objectsNegated(schema),
  ]
}

const jsonTypes = ['object', 'array', 'string', 'number', 'boolean', 'null']
/** Above this number of values, a list of numbers is not negated: each needs a range of its own. */
const numbersMax = 32
const fraction = { type: 'number', not: [{ multipleOf: 1 }] }

function typesNegated({ type, nullable }: SchemaObject): unknown[] {
  if (type === undefined) return []
  const named = new Set([type].flat().map(String))
  if (nullable === true) named.add('null')
  const isWhole = named.has('integer') && !named.has('number')
  const others = jsonTypes.filter((each) => !named.has(each) && !(each === 'number' && isWhole))
  return [...(others.length > 0 ? [{ type: others }] : []), ...(isWhole ? [fraction] : [])]
}

function valuesNegated(schema: SchemaObject): unknown[] {
  const lists = [
    ...(has(schema, 'const') ? [[schema.const]] : []),
    ...(Array.isArray(schema.enum) ? [schema.enum] : []),
  ]
  return lists.flatMap((values: unknown[]) => {
    const typeOf = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)
    const listed = new Set(values.map(typeOf))
    const texts = values.filter((value) => typeof value === 'string')
    const numbers = values.filter((value) => typeof value === 'number')
    const booleans = [true, false].filter((value) => !values.includes(value))
    const others = jsonTypes.filter((type) => !listed.has(type))
    return [
      ...(others.length > 0 ? [{ type: others }] : []),
      ...(texts.length > 0 ? [{ type: 'string', not: [{ enum: texts }] }] : []),
      ...(listed.has('boolean') && booleans.length > 0 ? [{ enum: booleans }] : []),
      ...(numbers.length > numbersMax ? [] : rangesBetween(numbers)),
    ]
  })
}

function rangesBetween(numbers: readonly number[]): unknown[] {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b)
  if (sorted.length === 0) return []
  const range = (low: number | undefined, high: number | undefined) => ({
    type: 'number',
    ...(low !== undefined && { exclusiveMinimum: low }),
    ...(high !== undefined && { exclusiveMaximum: high }),
  })
  return [...sorted, undefined].map((high, index) => range(sorted[index - 1], high))
}

function branchesNegated(schema: SchemaObject): unknown[] {
  const list = (key: string) => (Array.isArray(schema[key]) ? (schema[key] as unknown[]) : [])
  const { not } = schema
  const one = list('oneOf')
  const pairs = one.flatMap((each, index) => one.slice(index + 1).map((other) => ({ allOf: [each, other] })))
  return [
    ...list('allOf').map((each) => ({ not: [each] })),
    ...['anyOf', 'oneOf'].flatMap((key) => (list(key).length > 0 ? [{ not: list(key) }] : [])),
    ...pairs,
    ...(has(schema, 'not') ? [not].flat() : []),
    ...groupsOf(schema, 'if').flatMap((group) => [
      ...(has(group, 'then') ? [{ allOf: [group.if], not: [group.then] }] : []),
      ...(has(group, 'else') ? [{ not: [group.if, group.else] }] : []),
    ]),
  ]
}

function numbersNegated(schema: SchemaObject): unknown[] {
  const opposites = [
    ['minimum', 'exclusiveMaximum'],
    ['maximum', 'exclusiveMinimum'],
    ['exclusiveMinimum', 'maximum'],
    ['exclusiveMaximum', 'minimum'],
  ] as const
  return [
    ...opposites.flatMap(([key, opposite]) =>
      typeof schema[key] === 'number' ? [{ type: 'number', [opposite]: schema[key] }] : [],
    ),
    ...[schema.multipleOf]
      .flat()
      .flatMap((each) => (each === undefined ? [] : [{ type: 'number', not: [{ multipleOf: each }] }])),
  ]
}

function stringsNegated(schema: SchemaObject): unknown[] {
  const formats = [schema.format].flat().filter((format) => formatPattern(format) !== undefined)
  return [
    ...sizesNegated(schema, 'string', 'minLength', 'maxLength'),
    ...[schema.pattern]
      .flat()
      .flatMap((pattern) => (pattern === undefined ? [] : [{ type: 'string', not: [{ pattern }] }])),
    ...formats.map((format) => ({ type: 'string', not: [{ format }] })),
  ]
}

function sizesNegated(schema: SchemaObject, type: string, low: string, high: string): unknown[] {
  const [min, max] = [schema[low], schema[high]]
  return [
    ...(typeof min === 'number' && min > 0 ? [{ type, [high]: min - 1 }] : []),
    ...(typeof max === 'number' ? [{ type, [low]: max + 1 }] : []),
  ]
}

function arraysNegated(schema: SchemaObject): unknown[] {
  const { prefix, rest, restKeyword } = itemsOf(schema)
  const array = (more: SchemaObject) => ({ type: 'array', ...more })
  // `unevaluatedItems` also depends on keywords that are not known here.
  const isOther = rest !== undefined && rest !== true && restKeyword !== 'unevaluatedItems'
  const other = prefix.length === 0 ? array({ contains: { not: [rest] } }) : array({ minItems: prefix.length + 1 })
  return [
    ...sizesNegated(schema, 'array', 'minItems', 'maxItems'),
    ...prefix.map((item, index) =>
      array({ minItems: index + 1, prefixItems: [...Array(index).fill(true), { not: [item] }] }),
    ),
    ...(isOther && (prefix.length === 0 || rest === false) ? [other] : []),
    ...groupsOf(schema, 'contains').flatMap(({ contains, minContains = 1, maxContains }) => [
      ...(minContains === 1 ? [array({ items: { not: [contains] } })] : []),
      ...(typeof minContains === 'number' && minContains > 1
        ? [array({ contains, minContains: 0, maxContains: minContains - 1 })]
        : []),
      ...(typeof maxContains === 'number' ? [array({ contains, minContains: maxContains + 1 })] : []),
    ]),
  ]
}

function objectsNegated(schema: SchemaObject): unknown[] {
  const { required, properties, dependentRequired, dependentSchemas, additionalProperties } = schema
  const object = (more: SchemaObject) => ({ type: 'object', ...more })
  const only = (name: string, value: unknown) => object({ properties: { ...Object.fromEntries([[name, value]]) } })
  const names = isSchema(properties) ? Object.keys(properties) : []
  const isMap = names.length === 0 && !isSchema(schema.patternProperties)
  return [
    ...(Array.isArray(required) ? required.map((name) => only(String(name), false)) : []),
    ...names.map((name) => ({ ...only(name, { not: [(properties as SchemaObject)[name]] }), required: [name] })),
    ...(isMap && additionalProperties === false ? [object({ minProperties: 1 })] : []),
    ...sizesNegated(schema, 'object', 'minProperties', 'maxProperties'),
    ...Object.entries(isSchema(dependentRequired) ? dependentRequired : {}).flatMap(([name, list]) =>
      (Array.isArray(list) ? list : []).map((other) => ({ ...only(String(other), false), required: [name] })),
    ),
    ...Object.entries(isSchema(dependentSchemas) ? dependentSchemas : {}).map(([name, each]) =>
      object({ required: [name], not: [each] }),
    ),
  ]
}
