/**
 * JSON schema to a grammar in GBNF.
 *
 * The grammar accepts a subset of what the schema accepts, never more: objects keep the schema's order of properties,
 * an object with named properties gets no others, and white space is what a writer would use. In strict mode a keyword
 * that cannot be kept that way is refused by name; otherwise it is left out, which makes the form looser.
 */
import { integersBetween } from './integer-range.ts'
import { dumps } from './python-json.ts'

export type Schema = Record<string, unknown>

export type Compiled =
  | { ok: true /** Rules, one a line. The start rule is `name`. */; rules: string[]; mayBeNumber: boolean }
  | { ok: false; keyword: string; path: string; reason: string }

/** Beyond these a schema is refused: the grammar of one request must not hold up all others. */
const rulesMax = 4_000
const visitsMax = 20_000
const depthMax = 64

/** Words that say nothing about the value's form, or nothing that these grammars promise. */
const annotations = new Set([
  '$schema',
  '$id',
  '$anchor',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'examples',
  'example',
  'deprecated',
  'readOnly',
  'writeOnly',
  'strict',
  'contentEncoding',
  'contentMediaType',
  'nullable',
  'discriminator',
])

const keywordsOf: Record<string, readonly string[]> = {
  object: ['properties', 'required', 'additionalProperties', 'minProperties', 'maxProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'format'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  number: [],
  boolean: [],
  null: [],
}
const types = Object.keys(keywordsOf)

export const jsonRules: readonly string[] = [
  String.raw`ws ::= | " " | "\n" [ \t]{0,20}`,
  String.raw`string ::= "\"" char* "\""`,
  // No escape of half a surrogate pair: it would be no text.
  String.raw`char ::= [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))`,
  'integer ::= "-"? ("0" | [1-9] [0-9]{0,15})',
  'number ::= integer ("." [0-9]{1,16})? ([eE] [-+]? [1-9] [0-9]{0,1})?',
  'boolean ::= "true" | "false"',
  'null ::= "null"',
  'value ::= object | array | string | number | boolean | null',
  'object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)* ws)? "}"',
  'array ::= "[" ws (value ("," ws value)* ws)? "]"',
]

/** Formats that the grammar keeps; others are annotations, as the standard has them. */
const formats: Record<string, string> = {
  date: '"\\"" date "\\""',
  time: '"\\"" time "\\""',
  'date-time': '"\\"" date "T" time "\\""',
  uuid: '"\\"" [0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12} "\\""',
}
export const formatRules: readonly string[] = [
  'date ::= [0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [1-2] [0-9] | "3" [0-1])',
  'time ::= ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [+-] [01] [0-9] ":" [0-5] [0-9])',
]

class Refused extends Error {
  readonly keyword: string
  readonly path: string
  constructor(keyword: string, path: string, reason: string) {
    super(reason)
    this.keyword = keyword
    this.path = path
  }
}

/** @param name prefix of all rules made here; the grammar must also have `jsonRules` and `formatRules` */
export function compileSchema(schema: unknown, name: string, strict: boolean): Compiled {
  const writer = new SchemaWriter(schema, name, strict)
  try {
    return { ok: true, rules: writer.write(), mayBeNumber: writer.mayBeNumber(schema) }
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return { ok: false, keyword: error.keyword, path: error.path, reason: error.message }
  }
}

class SchemaWriter {
  readonly #root: unknown
  readonly #name: string
  readonly #strict: boolean
  readonly #rules = new Map<string, string>()
  /** Rule names of schemas that were referred to, so that recursion ends. */
  readonly #referred = new Map<string, string>()
  #visits = 0

  constructor(root: unknown, name: string, strict: boolean) {
    this.#root = root
    this.#name = name
    this.#strict = strict
  }

  write(): string[] {
    const body = this.#value(this.#root, '#', 0)
    return [`${this.#name} ::= ${body}`, ...[...this.#rules].map(([rule, text]) => `${rule} ::= ${text}`)]
  }

  mayBeNumber(schema: unknown, depth = 0): boolean {
    if (schema === true || depth > depthMax) return true
    if (!isSchema(schema)) return false
    if (typeof schema.$ref === 'string') return this.mayBeNumber(this.#target(schema.$ref, '#'), depth + 1)
    if ('const' in schema) return typeof schema.const === 'number'
    if (Array.isArray(schema.enum)) return schema.enum.some((value) => typeof value === 'number')
    const branches = schema.anyOf ?? schema.oneOf ?? schema.allOf
    if (Array.isArray(branches)) return branches.some((branch) => this.mayBeNumber(branch, depth + 1))
    return typesOf(schema).some((type) => type === 'number' || type === 'integer')
  }

  /** An expression for the schema. */
  #value(schema: unknown, path: string, depth: number): string {
    if (depth > depthMax) throw new Refused('$ref', path, `it is nested more than ${depthMax} deep`)
    if (++this.#visits > visitsMax) throw new Refused('$ref', path, 'it is too large')
    if (schema === true || schema === undefined) return 'value'
    if (!isSchema(schema)) throw new Refused('false', path, 'nothing can match it')
    if (typeof schema.$ref === 'string') return this.#reference(schema.$ref, path, depth)
    if ('const' in schema) return literal(schema.const)
    if (Array.isArray(schema.enum)) return this.#enumeration(schema, path)
    if (Array.isArray(schema.anyOf)) return this.#branches(schema, 'anyOf', path, depth)
    if (Array.isArray(schema.oneOf)) return this.#branches(schema, 'oneOf', path, depth)
    if (Array.isArray(schema.allOf)) return this.#value(this.#allOf(schema, path), path, depth + 1)
    const alternatives = typesOf(schema)
    this.#checkKeywords(schema, alternatives, path)
    if (alternatives === types && !Object.keys(schema).some((key) => isKeyword(key))) return 'value'
    return any(alternatives.map((type) => this.#typed(schema, type, path, depth)))
  }

  #typed(schema: Schema, type: string, path: string, depth: number): string {
    switch (type) {
      case 'object':
        return this.#object(schema, path, depth)
      case 'array':
        return this.#array(schema, path, depth)
      case 'string':
        return this.#string(schema, path)
      case 'integer':
        return this.#integer(schema, path)
      case 'number':
      case 'boolean':
      case 'null':
        return type
      default:
        throw new Refused('type', path, `"${type}" is no JSON type`)
    }
  }

  #reference(ref: string, path: string, depth: number): string {
    const known = this.#referred.get(ref)
    if (known) return known
    const target = this.#target(ref, path)
    const rule = this.#newRule('')
    this.#referred.set(ref, rule)
    const text = this.#value(target, ref, depth + 1)
    if (text === rule) throw new Refused('$ref', path, `"${ref}" is nothing but itself`)
    this.#rules.set(rule, text)
    return rule
  }

  #target(ref: string, path: string): unknown {
    if (ref !== '#' && !ref.startsWith('#/'))
      throw new Refused('$ref', path, `"${ref}" points outside of the schema: only "#/…" is followed`)
    let target: unknown = this.#root
    for (const step of ref.split('/').slice(1)) {
      const key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
      target = isSchema(target) || Array.isArray(target) ? (target as Schema)[key] : undefined
    }
    if (target === undefined) throw new Refused('$ref', path, `"${ref}" points to nothing`)
    return target
  }

  #enumeration(schema: Schema, path: string): string {
    const allowed = typesOf(schema)
    const values = (schema.enum as unknown[]).filter((value) => allowed.some((type) => isOf(value, type)))
    if (values.length === 0) throw new Refused('enum', path, 'no value is left to choose')
    return any(values.map(literal))
  }

  /** Keywords beside the branches hold for each of them. */
  #branches(schema: Schema, keyword: 'anyOf' | 'oneOf', path: string, depth: number): string {
    const { [keyword]: branches, ...beside } = schema
    const shared = Object.keys(beside).some((key) => !annotations.has(key))
    const alternatives = (branches as unknown[]).map((branch, index) => {
      const each = shared ? this.#merged([beside, branch], keyword, path) : branch
      return this.#value(each, `${path}/${keyword}/${index}`, depth + 1)
    })
    if (alternatives.length === 0) throw new Refused(keyword, path, 'it has no branch')
    return any(alternatives)
  }

  #allOf(schema: Schema, path: string): Schema {
    const { allOf, ...beside } = schema
    return this.#merged([beside, ...(allOf as unknown[])], 'allOf', path)
  }

  #merged(parts: unknown[], keyword: string, path: string): Schema {
    const result: Schema = {}
    for (let part of parts) {
      for (let hops = 0; isSchema(part) && typeof part.$ref === 'string' && hops < depthMax; hops++)
        part = this.#target(part.$ref, path)
      if (part === true) continue
      if (!isSchema(part)) throw new Refused(keyword, path, 'nothing can match one of its branches')
      for (const [key, value] of Object.entries(part)) {
        if (annotations.has(key)) continue
        if (!(key in result) || dumps(result[key]) === dumps(value)) result[key] = value
        else if (key === 'required') result[key] = [...(result[key] as unknown[]), ...(value as unknown[])]
        else if (key === 'properties') result[key] = this.#properties(result[key] as Schema, value as Schema, path)
        else if (this.#strict) throw new Refused(keyword, path, `its branches disagree about "${key}"`)
      }
    }
    return result
  }

  #properties(a: Schema, b: Schema, path: string): Schema {
    const result = { ...a }
    for (const [key, value] of Object.entries(b))
      result[key] = key in a ? this.#merged([a[key], value], 'allOf', `${path}/properties/${key}`) : value
    return result
  }

  #checkKeywords(schema: Schema, alternatives: readonly string[], path: string): void {
    if (!this.#strict) return
    const bound = keywordsOf.integer?.find((key) => key in schema)
    if (bound && alternatives.includes('number')) throw new Refused(bound, path, 'only whole numbers can be bounded')
    for (const [key, value] of Object.entries(schema)) {
      // A false `uniqueItems` says nothing; a keyword of another type says nothing about this one.
      const silent = key === 'type' || value === undefined || value === false
      if (!silent && !annotations.has(key) && !isKeyword(key)) throw new Refused(key, path, 'it cannot be enforced')
    }
  }

  #object(schema: Schema, path: string, depth: number): string {
    const { properties, required, additionalProperties: other } = schema
    const wanted = new Set(Array.isArray(required) ? required.map(String) : [])
    const named = Object.entries(isSchema(properties) ? properties : {})
    const undeclared = [...wanted].filter((key) => !named.some(([name]) => name === key))
    for (const key of undeclared) {
      if (other === false) throw new Refused('required', path, `"${key}" is required and not allowed`)
      named.push([key, other ?? true])
    }
    if (named.length === 0) return this.#map(schema, path, depth)
    if (this.#strict) this.#checkSize(schema, named.length, wanted.size, path)
    const members = named.map(([key, each]) => ({
      wanted: wanted.has(key),
      text: `${literal(key)} ":" ws ${this.#part(each, `${path}/properties/${key}`, depth)}`,
    }))
    return `"{" ws ${this.#members(members)} ws "}"`
  }

  /** With named properties any number from those required to all may come. */
  #checkSize({ minProperties: min, maxProperties: max }: Schema, named: number, wanted: number, path: string): void {
    if (typeof min === 'number' && min > wanted)
      throw new Refused('minProperties', path, 'it asks for optional properties')
    if (typeof max === 'number' && max < named)
      throw new Refused('maxProperties', path, 'it forbids some named property')
  }

  /**
   * Properties in their order, the optional ones left out or not. One rule per place in the list and per answer to
   * "has anything been written?", which decides about the comma.
   */
  #members(members: readonly { wanted: boolean; text: string }[]): string {
    let first = ''
    let later = ''
    for (const { wanted, text } of members.toReversed()) {
      const [afterFirst, afterLater] = [first, later]
      const begun = afterLater === '' ? text : `${text} ${afterLater}`
      later = this.#rule(wanted ? `"," ws ${begun}` : any([`"," ws ${begun}`, afterLater]))
      first = wanted ? this.#rule(begun) : this.#rule(any([begun, afterFirst]))
    }
    return first
  }

  #map(schema: Schema, path: string, depth: number): string {
    const { additionalProperties: other, minProperties, maxProperties } = schema
    const [min, max] = bounds(minProperties, maxProperties)
    if (other === false) {
      if (min > 0) throw new Refused('minProperties', path, 'no property is allowed')
      return '"{" ws "}"'
    }
    const member = `string ":" ws ${this.#part(other, `${path}/additionalProperties`, depth)}`
    return `"{" ws ${repeated(this.#rule(member), min, max)} "}"`
  }

  #array(schema: Schema, path: string, depth: number): string {
    const [min, max] = bounds(schema.minItems, schema.maxItems)
    if (!Array.isArray(schema.prefixItems)) {
      if (schema.items === false) return '"[" ws "]"'
      return `"[" ws ${repeated(this.#part(schema.items, `${path}/items`, depth), min, max)} "]"`
    }
    const items = schema.prefixItems.map((item, index) => this.#part(item, `${path}/prefixItems/${index}`, depth))
    if (this.#strict && (min > items.length || max < items.length))
      throw new Refused('prefixItems', path, 'minItems and maxItems must allow exactly these items')
    return `"[" ws ${items.join(' "," ws ')} ws "]"`
  }

  #string(schema: Schema, path: string): string {
    const format = typeof schema.format === 'string' ? formats[schema.format] : undefined
    if (schema.minLength === undefined && schema.maxLength === undefined) return format ?? 'string'
    if (format && this.#strict) throw new Refused('format', path, 'it cannot be combined with a length')
    const [min, max] = bounds(schema.minLength, schema.maxLength)
    return `"\\"" char${times(min, max)} "\\""`
  }

  #integer(schema: Schema, path: string): string {
    const min = Math.max(
      lower(schema.minimum),
      lower(schema.exclusiveMinimum) + (schema.exclusiveMinimum === undefined ? 0 : 1),
    )
    const max = Math.min(
      upper(schema.maximum),
      upper(schema.exclusiveMaximum) - (schema.exclusiveMaximum === undefined ? 0 : 1),
    )
    if (min === Number.NEGATIVE_INFINITY && max === Number.POSITIVE_INFINITY) return 'integer'
    if (min > max) throw new Refused('minimum', path, 'no number is left')
    return integersBetween(Math.ceil(min), Math.floor(max)) ?? this.#looseInteger(path)
  }

  #looseInteger(path: string): string {
    if (this.#strict) throw new Refused('minimum', path, 'bounds must be whole numbers of at most 15 digits')
    return 'integer'
  }

  /** A schema's expression as something that can stand in a row. */
  #part(schema: unknown, path: string, depth: number): string {
    const text = this.#value(schema, path, depth + 1)
    return /^[a-z0-9-]+$/.test(text) ? text : this.#rule(text)
  }

  #rule(text: string): string {
    return this.#newRule(text)
  }

  #newRule(text: string): string {
    if (this.#rules.size >= rulesMax) throw new Refused('properties', '#', 'it is too large')
    const rule = `${this.#name}-${this.#rules.size}`
    this.#rules.set(rule, text)
    return rule
  }
}

function isKeyword(key: string): boolean {
  return types.some((type) => keywordsOf[type]?.includes(key))
}

function isSchema(value: unknown): value is Schema {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function typesOf({ type, properties, required, items, prefixItems, nullable }: Schema): string[] {
  const listed = Array.isArray(type) ? type.map(String) : type === undefined ? [] : [String(type)]
  if (listed.length > 0) return nullable === true ? [...new Set([...listed, 'null'])] : listed
  if (properties !== undefined || required !== undefined) return ['object']
  if (items !== undefined || prefixItems !== undefined) return ['array']
  return types
}

function isOf(value: unknown, type: string): boolean {
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return isSchema(value)
  if (type === 'integer') return Number.isInteger(value)
  return typeof value === type
}

/** The JSON text of a value, as a literal of the grammar. */
export function literal(value: unknown): string {
  return quoted(dumps(value))
}

export function quoted(text: string): string {
  return `"${text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n').replace(/\r/g, '\\r').replace(/\t/g, '\\t')}"`
}

function any(alternatives: readonly string[]): string {
  const [only, ...rest] = [...new Set(alternatives)]
  return only !== undefined && rest.length === 0 ? only : `(${[...new Set(alternatives)].join(' | ')})`
}

function bounds(min: unknown, max: unknown): [number, number] {
  return [typeof min === 'number' ? min : 0, typeof max === 'number' ? max : Number.POSITIVE_INFINITY]
}

function times(min: number, max: number): string {
  if (min === 0 && max === Number.POSITIVE_INFINITY) return '*'
  return max === Number.POSITIVE_INFINITY ? `{${min},}` : `{${min},${max}}`
}

/** `min` to `max` items with commas between. */
function repeated(item: string, min: number, max: number): string {
  if (max < 1) return ''
  const more = max === 1 ? '' : ` ("," ws ${item})${times(Math.max(0, min - 1), max - 1)}`
  return min > 0 ? `${item}${more} ws` : `(${item}${more} ws)?`
}

function lower(value: unknown): number {
  return typeof value === 'number' ? value : Number.NEGATIVE_INFINITY
}

function upper(value: unknown): number {
  return typeof value === 'number' ? value : Number.POSITIVE_INFINITY
}
