/**
 * The JSON schemas that engines over HTTP get. Their compilers differ: llguidance of vLLM refuses the whole request for a
 * keyword that it lacks, llama-server ignores most of them, and both refuse some bounds. llama-server v0.4.0 also runs
 * for minutes, for all of its clients, on `minItems` above `maxItems` or on 2,000 optional properties.
 *
 * So a schema is reduced to what all of them compile. What is lost is returned for a warning, or for the refusal of a
 * strict schema. A contradiction, which no value can match, is a fault in any case. Linear in the schema, within budgets.
 */
import { budgets } from '../../model/budgets.ts'
import { isHarmlessPattern, isPortablePattern, repeatsMax } from './engine-pattern.ts'

/** A part of the schema that the engine does not enforce. */
export interface SchemaLoss {
  keyword: string
  /** A JSON pointer with `#`. */
  path: string
  reason: string
}

export type EngineSchema =
  /** `schema` is the given one if nothing was changed. */
  { ok: true; schema: EngineSchemaObject; losses: SchemaLoss[] } | { ok: false; fault: SchemaLoss }

/**
 * `enforced`: without all that some engine does not enforce. `harmless`: only without what costs an engine too much or
 * that it refuses; for the schemas of tools, which are a part of the prompt.
 */
export type SchemaReduction = 'enforced' | 'harmless'

/** What remains for the schemas of one request. */
export interface SchemaAllowance {
  parts: number
  pairs: number
}

export function schemaAllowance(): SchemaAllowance {
  return { parts: budgets.engineSchemaParts.value, pairs: budgets.engineSchemaPairs.value }
}

/** @param allowance is used up */
export function engineSchema(
  schema: EngineSchemaObject,
  reduction: SchemaReduction,
  allowance: SchemaAllowance,
): EngineSchema {
  const reducer = new SchemaReducer(schema, reduction, allowance)
  try {
    const reduced = reducer.schema(schema, '#') as EngineSchemaObject
    return { ok: true, schema: reducer.changed ? reduced : schema, losses: reducer.losses }
  } catch (error) {
    if (error instanceof SchemaFault) return { ok: false, fault: error.fault }
    if (!(error instanceof TooLarge)) throw error
    const reason = `the schemas of a request for this engine may have ${budgets.engineSchemaParts.value} parts`
    const type = schema.type === 'object' || schema.properties !== undefined ? { type: 'object' } : {}
    return { ok: true, schema: type, losses: [{ keyword: 'schema', path: '#', reason }] }
  }
}

type EngineSchemaObject = Record<string, unknown>

class SchemaFault extends Error {
  readonly fault: SchemaLoss
  constructor(keyword: string, path: string, reason: string) {
    super(reason)
    this.fault = { keyword, path, reason }
  }
}

class TooLarge extends Error {}

const lacking = new Set([
  ...['if', 'then', 'else', 'not', 'dependentRequired', 'dependentSchemas', 'dependencies'],
  ...['contains', 'minContains', 'maxContains', 'unevaluatedItems', '$dynamicRef', '$recursiveRef'],
])
const schemaMaps = new Set(['properties', 'patternProperties', '$defs', 'definitions'])
const schemaLists = new Set(['prefixItems', 'anyOf', 'allOf', 'oneOf'])
const countPairs = [
  ['minLength', 'maxLength'],
  ['minItems', 'maxItems'],
  ['minProperties', 'maxProperties'],
] as const
const counts = new Set<string>(countPairs.flat())
const bounds = new Set(['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'])
/** Of llguidance 1.9.1, which refuses any other. */
const formats = new Set([
  ...['date-time', 'time', 'date', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uuid', 'uri'],
])
/** Engines compute bounds of integers in 64 bits. */
const boundMax = 9e18
const unsupported = 'this engine does not support it'
const notPortable = 'not all engines support this pattern'

class SchemaReducer {
  readonly losses: SchemaLoss[] = []
  changed = false
  readonly #root: EngineSchemaObject
  readonly #reduction: SchemaReduction
  readonly #allowance: SchemaAllowance
  #depth = 0

  constructor(root: EngineSchemaObject, reduction: SchemaReduction, allowance: SchemaAllowance) {
    this.#root = root
    this.#reduction = reduction
    this.#allowance = allowance
  }

  schema(value: unknown, path: string): unknown {
    if (--this.#allowance.parts < 0) throw new TooLarge()
    if (typeof value === 'boolean') {
      this.changed = true
      if (!value) this.#lose('false', path, unsupported)
      return {}
    }
    if (!isObject(value)) throw new SchemaFault('schema', path, 'it is no object')
    if (this.#depth >= depthMax) {
      this.#drop('schema', path, `only ${depthMax} levels of schemas are supported`)
      return {}
    }
    this.#checkCounts(value, path)
    const result: EngineSchemaObject = {}
    this.#depth++
    for (const [keyword, each] of Object.entries(value)) this.#keyword(result, value, keyword, each, path)
    this.#depth--
    return this.#withinPairs(result, path)
  }

  #keyword(
    result: EngineSchemaObject,
    schema: EngineSchemaObject,
    keyword: string,
    value: unknown,
    path: string,
  ): void {
    const at = `${path}/${keyword.replaceAll('~', '~0').replaceAll('/', '~1')}`
    if (schemaMaps.has(keyword)) result[keyword] = this.#map(keyword, value, at)
    else if (schemaLists.has(keyword) || (keyword === 'items' && Array.isArray(value)))
      this.#list(result, schema, keyword, this.#schemas(keyword, value, at), path)
    else if (keyword === 'items') result[keyword] = this.schema(value, at)
    else if (keyword === 'additionalProperties' || keyword === 'additionalItems')
      result[keyword] = isObject(value) ? this.schema(value, at) : value
    else if (counts.has(keyword)) this.#keepIf(Number(value) < repeatsMax, result, keyword, value, path)
    else if (bounds.has(keyword)) this.#bound(result, keyword, value, path)
    else if (keyword === '$ref') this.#reference(result, value, path)
    else if (keyword === 'pattern') this.#pattern(result, schema, value, path)
    else if (keyword === 'format') this.#keepOrDrop(formats.has(String(value)), result, keyword, value)
    else if (keyword === '$schema' || (keyword === 'uniqueItems' && value === false))
      this.#keepOrDrop(false, result, keyword, value)
    else if (keyword === 'propertyNames' && isAnyName(value)) this.#keepOrDrop(false, result, keyword, value)
    else if (keyword === 'unevaluatedProperties') this.#unevaluated(result, schema, value, path)
    else if (lacking.has(keyword) || keyword === 'uniqueItems' || keyword === 'propertyNames')
      this.#ignored(result, keyword, value, path)
    else result[keyword] = value
  }

  #map(keyword: string, value: unknown, path: string): EngineSchemaObject {
    if (!isObject(value)) throw new SchemaFault(keyword, path, 'it is no object')
    const entries = Object.entries(value).flatMap(([name, each]): [string, unknown][] => {
      if (keyword === 'patternProperties' && !isPortablePattern(name)) {
        this.changed = true
        this.#lose(keyword, path, 'its pattern is not supported by all engines')
        return []
      }
      return [[name, this.schema(each, `${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`)]]
    })
    return Object.fromEntries(entries)
  }

  #schemas(keyword: string, value: unknown, path: string): unknown[] {
    if (!Array.isArray(value)) throw new SchemaFault(keyword, path, 'it is no list')
    return value.map((each, index) => this.schema(each, `${path}/${index}`))
  }

  /** No engine distinguishes `oneOf` from `anyOf` in general. */
  #list(
    result: EngineSchemaObject,
    schema: EngineSchemaObject,
    keyword: string,
    schemas: unknown[],
    path: string,
  ): void {
    if (keyword === 'oneOf' && !areApart(schemas.map((each) => this.#meant(each))))
      this.#lose('oneOf', path, 'several of its branches may match')
    if (keyword !== 'oneOf' || this.#reduction === 'harmless') {
      result[keyword] = schemas
      return
    }
    this.changed = true
    if (schema.anyOf === undefined) result.anyOf = schemas
    else result.allOf = [...(Array.isArray(result.allOf) ? result.allOf : []), { anyOf: schemas }]
  }

  #bound(result: EngineSchemaObject, keyword: string, value: unknown, path: string): void {
    // Draft 4 has `exclusiveMinimum: true`.
    if (typeof value !== 'number') this.#drop(keyword, path, 'it is no number')
    else this.#keepIf(Math.abs(value) < boundMax, result, keyword, value, path)
  }

  #reference(result: EngineSchemaObject, value: unknown, path: string): void {
    if (typeof value !== 'string' || !/^#(\/|$)/.test(value)) {
      this.#drop('$ref', path, 'only a reference within the schema, such as #/$defs/a, is supported')
      return
    }
    let target: unknown = { $ref: value }
    for (let steps = 0; isObject(target) && typeof target.$ref === 'string'; steps++) {
      if (steps > chainMax) throw new SchemaFault('$ref', path, 'it refers to itself')
      if (!/^#(\/|$)/.test(target.$ref)) break
      target = targetOf(this.#root, target.$ref)
    }
    if (target === undefined) throw new SchemaFault('$ref', path, 'it refers to nothing')
    result.$ref = value
  }

  /** The libraries that write a pattern next to a format mean the same with both. */
  #pattern(result: EngineSchemaObject, { format }: EngineSchemaObject, value: unknown, path: string): void {
    if (typeof value !== 'string') throw new SchemaFault('pattern', path, 'it is no text')
    const keeps = this.#reduction === 'enforced' ? isPortablePattern : isHarmlessPattern
    if (keeps(value)) result.pattern = value
    if (isPortablePattern(value)) return
    if (keeps(value)) this.#lose('pattern', path, notPortable)
    else if (formats.has(String(format))) this.changed = true
    else this.#drop('pattern', path, notPortable)
  }

  #unevaluated(result: EngineSchemaObject, schema: EngineSchemaObject, value: unknown, path: string): void {
    const alone = !combining.some((keyword) => schema[keyword] !== undefined)
    if (value === false && alone && this.#reduction === 'enforced') {
      this.changed = true
      result.additionalProperties ??= false
    } else if (value === true) this.#keepOrDrop(false, result, 'unevaluatedProperties', value)
    else this.#ignored(result, 'unevaluatedProperties', value, path)
  }

  /** The schema that a reference means. */
  #meant(schema: unknown): unknown {
    return isObject(schema) && typeof schema.$ref === 'string' ? targetOf(this.#root, schema.$ref) : schema
  }

  #checkCounts(schema: EngineSchemaObject, path: string): void {
    for (const [min, max] of countPairs) {
      for (const keyword of [min, max])
        if (schema[keyword] !== undefined && !isCount(schema[keyword]))
          throw new SchemaFault(keyword, path, 'it is no whole number of at least 0')
      if (Number(schema[min] ?? 0) > Number(schema[max] ?? Number.POSITIVE_INFINITY))
        throw new SchemaFault(min, path, `it is more than "${max}"`)
    }
    const { minimum, maximum } = schema
    if (typeof minimum === 'number' && typeof maximum === 'number' && minimum > maximum)
      throw new SchemaFault('minimum', path, 'it is more than "maximum"')
  }

  /** The grammar of optional properties grows with the square of their number. */
  #withinPairs(schema: EngineSchemaObject, path: string): EngineSchemaObject {
    if (!isObject(schema.properties)) return schema
    const required = new Set(Array.isArray(schema.required) ? schema.required : [])
    const optional = Object.keys(schema.properties).filter((name) => !required.has(name)).length
    if (optional ** 2 <= this.#allowance.pairs) {
      this.#allowance.pairs -= optional ** 2
      return schema
    }
    this.#drop('properties', path, 'the schema has too many optional properties for this engine')
    const { properties: _properties, required: _required, additionalProperties: _additional, ...rest } = schema
    return rest
  }

  #keepIf(kept: boolean, result: EngineSchemaObject, keyword: string, value: unknown, path: string): void {
    if (kept) result[keyword] = value
    else this.#drop(keyword, path, 'the number is too large for this engine')
  }

  /** Of a value that is an annotation or asks for nothing. */
  #keepOrDrop(kept: boolean, result: EngineSchemaObject, keyword: string, value: unknown): void {
    if (kept || this.#reduction === 'harmless') result[keyword] = value
    else this.changed = true
  }

  /** A keyword that some engines refuse, and others ignore. */
  #ignored(result: EngineSchemaObject, keyword: string, value: unknown, path: string): void {
    this.#lose(keyword, path, unsupported)
    if (this.#reduction === 'harmless') result[keyword] = value
    else this.changed = true
  }

  #drop(keyword: string, path: string, reason: string): void {
    this.changed = true
    this.#lose(keyword, path, reason)
  }

  #lose(keyword: string, path: string, reason: string): void {
    this.losses.push({ keyword, path, reason })
  }
}

const chainMax = 32
/** llguidance reads JSON of at most 128 levels, and a level of schemas takes two. */
const depthMax = 60
const combining = ['allOf', 'anyOf', 'oneOf', 'if', '$ref', 'dependentSchemas', 'patternProperties', 'not']

function isObject(value: unknown): value is EngineSchemaObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 0
}

/** Whether every name matches: JSON has only texts as names. */
function isAnyName(value: unknown): boolean {
  if (!isObject(value)) return value === true
  return Object.entries(value).every(([keyword, each]) => keyword === 'type' && each === 'string')
}

/** Whether a property with one value each, or the type, distinguishes all branches. */
function areApart(schemas: readonly unknown[]): boolean {
  const types = schemas.map((each) => (isObject(each) ? each.type : undefined))
  const single = types.every((type) => typeof type === 'string' && type !== 'number' && type !== 'integer')
  if (single && new Set(types).size === types.length) return true
  const [first] = schemas
  const names = isObject(first) && isObject(first.properties) ? Object.keys(first.properties) : []
  return names.slice(0, namesTried).some((name) => {
    const values = schemas.map((each) => marker(each, name))
    return values.every((value) => value !== undefined) && new Set(values).size === values.length
  })
}

const namesTried = 8

function marker(schema: unknown, name: string): string | undefined {
  if (!isObject(schema) || !isObject(schema.properties)) return undefined
  const { required } = schema
  const property = schema.properties[name]
  if (!Array.isArray(required) || !required.includes(name) || !isObject(property)) return undefined
  const listed = Array.isArray(property.enum) && property.enum.length === 1 ? property.enum[0] : undefined
  const value = property.const ?? listed
  return value === undefined ? undefined : JSON.stringify(value)
}

/** The value at a JSON pointer with `#`. */
function targetOf(root: unknown, pointer: string): unknown {
  let value = root
  for (const part of pointer.split('/').slice(1)) {
    const name = decoded(part).replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as EngineSchemaObject)[name]
  }
  return value
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
