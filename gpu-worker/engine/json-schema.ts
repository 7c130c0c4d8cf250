/**
 * Compiles a JSON schema to a GBNF grammar.
 *
 * The grammar accepts a subset of what the schema accepts, never more: properties come in the schema's order, an object
 * with named properties has no others, and white space is limited. In strict mode a keyword that cannot be enforced is
 * refused by name; otherwise it is ignored, which makes the grammar looser.
 *
 * All work is charged to one budget (compile-budget.ts). The library follows every possible parse of an answer at once,
 * with one parse stack each, and each stack costs a pass over the vocabulary per token. So each form carries the
 * maximum number of its stacks (form.ts), and a form with too many is refused.
 */
import { CompileBudget, SchemaRefused, shown } from './compile-budget.ts'
import { anyValue, type Form, formOf, kind, type Member, Recursion, stacksOfBranches } from './form.ts'
import { integersBetween } from './integer-range.ts'
import { literals, quoted } from './literals.ts'
import { dumps } from './python-json.ts'
import { repetition } from './repetition.ts'

type Schema = Record<string, unknown>

export type Compiled =
  | { ok: true /** One rule per item. The start rule is `name`. */; rules: string[]; form: Form }
  | { ok: false; keyword: string; path: string; reason: string }

/** A schema that is nested deeper is refused. The budget `schemaVisits` bounds chains of references. */
const depthMax = 64

/** Keywords that do not constrain the value's form, or that these grammars do not enforce. */
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
  // No escape of half a surrogate pair: it is not valid text.
  String.raw`char ::= [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))`,
  'integer ::= "-"? ("0" | [1-9] [0-9]{0,15})',
  'number ::= integer ("." [0-9]{1,16})? ([eE] [-+]? [1-9] [0-9]{0,1})?',
  'boolean ::= "true" | "false"',
  'null ::= "null"',
  'value ::= object | array | string | number | boolean | null',
  'object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)* ws)? "}"',
  'array ::= "[" ws (value ("," ws value)* ws)? "]"',
]

/** Formats that the grammar enforces. Others are annotations, as in the standard. */
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

/**
 * @param name prefix of all compiled rules; the grammar must also have `jsonRules` and `formatRules`
 * @param budget shared by all schemas of one request
 * @param bytes the length of the schema's JSON text
 */
export function compileSchema(
  schema: unknown,
  name: string,
  strict: boolean,
  budget: CompileBudget = new CompileBudget(),
  bytes = 0,
): Compiled {
  const writer = new SchemaWriter(schema, name, strict, budget)
  try {
    budget.spend('schemaBytes', bytes, '#')
    return { ok: true, ...writer.write() }
  } catch (error) {
    if (error instanceof SchemaRefused)
      return { ok: false, keyword: error.keyword, path: error.path, reason: error.message }
    // The schema caused this exception; the engine is not at fault.
    const name = error instanceof Error ? error.name : 'error'
    return {
      ok: false,
      keyword: 'schema',
      path: shown(writer.path),
      reason: `it cannot be read (${name}). Send a valid JSON Schema`,
    }
  }
}

class SchemaWriter {
  readonly #root: unknown
  readonly #name: string
  readonly #strict: boolean
  readonly #budget: CompileBudget
  /** Rule texts by name, and names by text, so that equal parts share one rule. */
  readonly #rules = new Map<string, string>()
  readonly #named = new Map<string, string>()
  /** Forms of referenced schemas, so that recursion ends. */
  readonly #referred = new Map<string, Form>()
  readonly #recursion = new Recursion()
  #names = 0
  /** The path of the schema being compiled. */
  path = '#'

  constructor(root: unknown, name: string, strict: boolean, budget: CompileBudget) {
    this.#root = root
    this.#name = name
    this.#strict = strict
    this.#budget = budget
  }

  write(): { rules: string[]; form: Form } {
    const form = this.#value(this.#root, '#', 0)
    this.#budget.spend('grammarBytes', form.text.length + this.#name.length + 6, '#')
    return {
      rules: [`${this.#name} ::= ${form.text}`, ...[...this.#rules].map(([rule, text]) => `${rule} ::= ${text}`)],
      form,
    }
  }

  #value(schema: unknown, path: string, depth: number): Form {
    this.path = path
    if (depth > depthMax)
      throw new SchemaRefused('schema', path, `it is nested more than ${depthMax} deep. Use a flatter schema`)
    this.#budget.spend('schemaVisits', 1, path)
    if (schema === true || schema === undefined) return anyValue
    if (!isSchema(schema)) throw new SchemaRefused('false', path, 'nothing can match it. Remove it')
    if (typeof schema.$ref === 'string') return this.#reference(schema.$ref, path, depth)
    if (has(schema, 'const')) return this.#literals([schema.const], path)
    if (Array.isArray(schema.enum)) return this.#enumeration(schema, path)
    if (Array.isArray(schema.anyOf)) return this.#branches(schema, 'anyOf', path, depth)
    if (Array.isArray(schema.oneOf)) return this.#branches(schema, 'oneOf', path, depth)
    if (Array.isArray(schema.allOf)) return this.#value(this.#allOf(schema, path), path, depth + 1)
    const alternatives = typesOf(schema)
    this.#checkKeywords(schema, alternatives, path)
    if (alternatives === types && !Object.keys(schema).some((key) => isKeyword(key))) return anyValue
    return this.#any(
      alternatives.map((type) => this.#typed(schema, type, path, depth)),
      'type',
      path,
    )
  }

  #typed(schema: Schema, type: string, path: string, depth: number): Form {
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
        return formOf('number', kind.number, 6, 3)
      case 'boolean':
        return formOf('boolean', kind.boolean, 2, 2)
      case 'null':
        return formOf('null', kind.null, 1)
      default:
        throw new SchemaRefused('type', path, `"${shown(type)}" is not a JSON type. Use one of ${types.join(', ')}`)
    }
  }

  #reference(ref: string, path: string, depth: number): Form {
    const known = this.#referred.get(ref)
    if (known) {
      if (this.#recursion.isBare(ref)) throw new SchemaRefused('$ref', path, `"${shown(ref)}" refers only to itself`)
      return known
    }
    const target = this.#target(ref, path)
    const rule = this.#newName()
    const id = this.#recursion.enter(ref)
    this.#referred.set(ref, { ...formOf(rule, anyValue.kinds, 0), open: id })
    const form = this.#value(target, ref, depth + 1)
    this.#define(rule, form.text, path)
    const complete = { ...form, text: rule, open: this.#recursion.leave(ref, form) }
    this.#referred.set(ref, complete)
    return complete
  }

  #target(ref: string, path: string): unknown {
    if (ref !== '#' && !ref.startsWith('#/'))
      throw new SchemaRefused(
        '$ref',
        path,
        `"${shown(ref)}" points outside the schema. Use a reference that begins with "#/"`,
      )
    let target: unknown = this.#root
    for (const step of ref.split('/').slice(1)) {
      this.#budget.spend('schemaVisits', 1, path)
      const key = pointerKey(step)
      if (key === undefined) throw new SchemaRefused('$ref', path, `"${shown(ref)}" has a stray "%". Write it as %25`)
      target =
        (isSchema(target) || Array.isArray(target)) && has(target as Schema, key) ? (target as Schema)[key] : undefined
    }
    if (target === undefined)
      throw new SchemaRefused(
        '$ref',
        path,
        `"${shown(ref)}" points to nothing. Add the definition or correct the reference`,
      )
    return target
  }

  #enumeration(schema: Schema, path: string): Form {
    const allowed = typesOf(schema)
    const values = (schema.enum as unknown[]).filter((value) => allowed.some((type) => isOf(value, type)))
    if (values.length === 0) throw new SchemaRefused('enum', path, 'no value matches "type"')
    return this.#literals(values, path)
  }

  /** Constants of any type, as one prefix tree of their texts. */
  #literals(values: readonly unknown[], path: string): Form {
    this.#budget.spend('schemaAlternatives', values.length, path)
    const texts = values.map((value) => this.#dumped(value, path))
    const kinds = values.reduce<number>((all, value) => all | kindOf(value), 0)
    return this.#tree(texts, kinds, path)
  }

  #tree(texts: readonly string[], kinds: number, path: string): Form {
    const tree = literals(texts, (text) => this.#rule(text, path))
    return { ...formOf(tree.text, kinds, tree.stacks, tree.starts), literals: texts }
  }

  #dumped(value: unknown, path: string): string {
    const text = dumps(value)
    this.#budget.spend('grammarBytes', text.length, path)
    return text
  }

  /** Keywords next to the branches apply to every branch. */
  #branches(schema: Schema, keyword: 'anyOf' | 'oneOf', path: string, depth: number): Form {
    const { [keyword]: branches, ...rest } = schema
    const shared = Object.keys(rest).some((key) => !annotations.has(key))
    this.#budget.spend('schemaAlternatives', (branches as unknown[]).length, path)
    const alternatives = (branches as unknown[]).map((branch, index) => {
      const each = shared ? this.#merged([rest, branch], keyword, path) : branch
      return this.#value(each, `${path}/${keyword}/${index}`, depth + 1)
    })
    if (alternatives.length === 0) throw new SchemaRefused(keyword, path, 'it has no branch. Add at least one')
    return this.#any(alternatives, keyword, path)
  }

  #allOf(schema: Schema, path: string): Schema {
    const { allOf, ...rest } = schema
    return this.#merged([rest, ...(allOf as unknown[])], 'allOf', path)
  }

  #merged(parts: readonly unknown[], keyword: string, path: string): Schema {
    const result: Schema = Object.create(null)
    for (let part of parts) {
      this.#budget.spend('schemaVisits', 1, path)
      for (let hops = 0; isSchema(part) && typeof part.$ref === 'string' && hops < depthMax; hops++)
        part = this.#target(part.$ref, path)
      if (part === true) continue
      if (!isSchema(part))
        throw new SchemaRefused(keyword, path, 'nothing can match one of its branches. Remove that branch')
      for (const [key, value] of Object.entries(part)) {
        this.#budget.spend('schemaCompared', 1, path)
        if (annotations.has(key)) continue
        if (!has(result, key) || this.#same(result[key], value, path)) result[key] = value
        else if (key === 'required') result[key] = this.#both(result[key], value, path)
        else if (key === 'properties') result[key] = this.#properties(result[key], value, path)
        else if (this.#strict)
          throw new SchemaRefused(
            keyword,
            path,
            `its branches have different values for "${shown(key)}". Use one value`,
          )
      }
    }
    return result
  }

  #both(a: unknown, b: unknown, path: string): unknown {
    const names = new Set([...this.#required(a, path), ...this.#required(b, path)])
    this.#budget.spend('schemaCompared', names.size, path)
    return [...names]
  }

  #properties(a: unknown, b: unknown, path: string): Schema {
    if (!isSchema(a) || !isSchema(b)) throw new SchemaRefused('properties', path, 'it must be an object')
    const entries = Object.entries(b)
    this.#budget.spend('schemaCompared', Object.keys(a).length + entries.length, path)
    const result: Schema = Object.assign(Object.create(null), a)
    for (const [key, value] of entries)
      result[key] = has(a, key) ? this.#merged([a[key], value], 'allOf', `${path}/properties/${key}`) : value
    return result
  }

  /** Whether two JSON values are equal. Each comparison is charged to the budget. */
  #same(a: unknown, b: unknown, path: string): boolean {
    this.#budget.spend('schemaCompared', typeof a === 'string' ? 1 + a.length / 64 : 1, path)
    if (a === b) return true
    if (Array.isArray(a) && Array.isArray(b))
      return a.length === b.length && a.every((each, index) => this.#same(each, b[index], path))
    if (!isSchema(a) || !isSchema(b)) return false
    const keys = Object.keys(a)
    if (keys.length !== Object.keys(b).length) return false
    return keys.every((key) => has(b, key) && this.#same(a[key], b[key], path))
  }

  /** The names in `required`. */
  #required(required: unknown, path: string): string[] {
    if (required === undefined) return []
    if (Array.isArray(required) && required.every((name) => typeof name === 'string')) return required
    if (this.#strict) throw new SchemaRefused('required', path, 'it must be a list of names')
    return Array.isArray(required) ? required.filter((name) => typeof name === 'string') : []
  }

  #checkKeywords(schema: Schema, alternatives: readonly string[], path: string): void {
    if (!this.#strict) return
    const bound = keywordsOf.integer?.find((key) => has(schema, key))
    if (bound && alternatives.includes('number'))
      throw new SchemaRefused(bound, path, 'only integers can be bounded. Use "type": "integer"')
    for (const [key, value] of Object.entries(schema)) {
      // A keyword with the value false, such as `uniqueItems`, and a keyword of another type constrain nothing.
      const ignored = key === 'type' || value === undefined || value === false
      if (!ignored && !annotations.has(key) && !isKeyword(key))
        throw new SchemaRefused(key, path, 'it cannot be enforced. Remove it')
    }
  }

  #object(schema: Schema, path: string, depth: number): Form {
    const { properties, additionalProperties: other } = schema
    if (this.#strict && properties !== undefined && !isSchema(properties))
      throw new SchemaRefused('properties', path, 'it must be an object')
    const bounds = this.#bounds(schema, 'minProperties', 'maxProperties', path)
    const wanted = new Set(this.#required(schema.required, path))
    const named = Object.entries(isSchema(properties) ? properties : {})
    const declared = new Set(named.map(([name]) => name))
    for (const key of wanted) {
      if (declared.has(key)) continue
      if (other === false)
        throw new SchemaRefused('required', path, `"${shown(key)}" is required but "additionalProperties" forbids it`)
      named.push([key, other ?? true])
    }
    if (named.length === 0) return this.#map(other, bounds, path, depth)
    if (this.#strict) this.#checkSize(schema, named.length, wanted.size, path)
    this.#recursion.wrap()
    const members = named.map(([key, each]): Member & { text: string } => {
      const form = this.#part(each, `${path}/properties/${key}`, depth)
      const name = quoted(`${this.#dumped(key, path)}:`)
      return { key, wanted: wanted.has(key), form, text: `${name} ws ${form.text}` }
    })
    this.#recursion.unwrap()
    const stacks = Math.max(longestChoice(members), ...members.map(({ form }) => this.#recursion.stacksOf(form))) + 4
    this.#budget.hold('grammarStacks', stacks, path)
    const body = `"{" ws ${this.#members(members, path)} ws "}"`
    return {
      ...formOf(body, kind.object, stacks),
      open: this.#recursion.openOf(members.map(({ form }) => form)),
      members,
    }
  }

  /** An object with named properties may have any number of them from the required ones to all. */
  #checkSize({ minProperties: min, maxProperties: max }: Schema, named: number, wanted: number, path: string): void {
    if (typeof min === 'number' && min > wanted)
      throw new SchemaRefused(
        'minProperties',
        path,
        'it is more than the number of required properties. Lower it or require more properties',
      )
    if (typeof max === 'number' && max < named)
      throw new SchemaRefused(
        'maxProperties',
        path,
        'it is less than the number of named properties. Raise it or remove properties',
      )
  }

  /**
   * Properties in their order, each optional one present or absent. Each place in the list has two texts: one if a
   * property was written before it (comma needed), one if not. A text that is used more than once becomes a rule.
   */
  #members(members: readonly { wanted: boolean; text: string }[], path: string): string {
    // After a required property a comma is always needed.
    const firsts = members.findIndex(({ wanted }) => wanted)
    let first = ''
    let later = ''
    for (let index = members.length - 1; index >= 0; index--) {
      const { wanted, text } = members[index] ?? { wanted: true, text: '' }
      const isFirst = firsts < 0 || index <= firsts
      const uses = (index === 0 ? 0 : wanted ? 1 : 2) + (isFirst ? 1 : 0)
      if (uses > 1 && later.length > 20) later = this.#rule(later, path)
      const begun = later === '' ? text : `${text} ${later}`
      if (isFirst) first = this.#rule(wanted ? begun : orElse(begun, first), path)
      if (index > 0) later = wanted ? `"," ws ${begun}` : this.#rule(orElse(`"," ws ${begun}`, later), path)
    }
    return first
  }

  #map(other: unknown, [min, max]: [number, number], path: string, depth: number): Form {
    if (other === false) {
      if (min > 0) throw new SchemaRefused('minProperties', path, 'no property is allowed. Use 0')
      return formOf('"{" ws "}"', kind.object, 4)
    }
    this.#recursion.wrap()
    const form = this.#part(other, `${path}/additionalProperties`, depth)
    this.#recursion.unwrap()
    const member = this.#rule(`string ":" ws ${form.text}`, path)
    const stacks = Math.max(6, this.#recursion.stacksOf(form)) + 6
    return { ...formOf(`"{" ws ${this.#list(member, min, max, path)} "}"`, kind.object, stacks), open: form.open }
  }

  #array(schema: Schema, path: string, depth: number): Form {
    const [min, max] = this.#bounds(schema, 'minItems', 'maxItems', path)
    this.#recursion.wrap()
    const form = Array.isArray(schema.prefixItems)
      ? this.#tuple(schema.prefixItems, [min, max], path, depth)
      : this.#items(schema.items, [min, max], path, depth)
    this.#recursion.unwrap()
    return form
  }

  #items(items: unknown, [min, max]: [number, number], path: string, depth: number): Form {
    if (items === false) {
      if (min > 0) throw new SchemaRefused('minItems', path, 'no item is allowed. Use 0')
      return formOf('"[" ws "]"', kind.array, 4)
    }
    const item = this.#part(items, `${path}/items`, depth)
    const stacks = this.#recursion.stacksOf(item) + 8
    return { ...formOf(`"[" ws ${this.#list(item.text, min, max, path)} "]"`, kind.array, stacks), open: item.open }
  }

  #tuple(prefix: readonly unknown[], [min, max]: [number, number], path: string, depth: number): Form {
    if (this.#strict && (min > prefix.length || max < prefix.length))
      throw new SchemaRefused('prefixItems', path, 'minItems and maxItems must allow exactly the listed items')
    const items = prefix.map((item, index) => this.#part(item, `${path}/prefixItems/${index}`, depth))
    const stacks = Math.max(0, ...items.map((item) => this.#recursion.stacksOf(item))) + 4
    const body = `"[" ws ${items.map(({ text }) => text).join(' "," ws ')} ws "]"`
    return { ...formOf(body, kind.array, stacks), open: this.#recursion.openOf(items) }
  }

  /** `min` to `max` items, separated by commas. */
  #list(item: string, min: number, max: number, path: string): string {
    if (max < 1) return ''
    const next =
      max === 1 ? '' : ` ${this.#times(this.#rule(`"," ws ${item}`, path), Math.max(0, min - 1), max - 1, path)}`
    // A separate rule: the library's reader refuses a "?" after parentheses with many repetitions inside.
    return min > 0 ? `${item}${next} ws` : this.#rule(`| ${item}${next} ws`, path)
  }

  #times(item: string, min: number, max: number, path: string): string {
    return repetition(item, min, max, {
      rule: (text) => this.#rule(text, path),
      spend: (repeats) => this.#budget.spend('grammarRepeats', repeats, path),
      path,
    })
  }

  #string(schema: Schema, path: string): Form {
    const format = typeof schema.format === 'string' && has(formats, schema.format) ? formats[schema.format] : undefined
    if (schema.minLength === undefined && schema.maxLength === undefined)
      return formOf(format ?? 'string', kind.string, format === undefined ? 4 : 8)
    if (format && this.#strict)
      throw new SchemaRefused('format', path, 'it cannot be combined with minLength or maxLength')
    const [min, max] = this.#bounds(schema, 'minLength', 'maxLength', path)
    // One rule for each pair of bounds: a schema often repeats them.
    const text =
      this.#named.get(`string ${min} ${max}`) ?? this.#rule(`"\\"" ${this.#times('char', min, max, path)} "\\""`, path)
    this.#named.set(`string ${min} ${max}`, text)
    return formOf(text, kind.string, 10)
  }

  #integer(schema: Schema, path: string): Form {
    const min = Math.max(
      this.#limit(schema, 'minimum', path, Math.ceil),
      this.#limit(schema, 'exclusiveMinimum', path, above),
    )
    const max = Math.min(
      this.#limit(schema, 'maximum', path, Math.floor),
      this.#limit(schema, 'exclusiveMaximum', path, below),
    )
    if (min === Number.NEGATIVE_INFINITY && max === Number.POSITIVE_INFINITY)
      return formOf('integer', kind.number, 4, 3)
    const known = this.#named.get(`integer ${min} ${max}`)
    const range = known ?? this.#range(min, max, path)
    this.#named.set(`integer ${min} ${max}`, range)
    return formOf(range, kind.number, 8, 6)
  }

  #range(min: number, max: number, path: string): string {
    const range = integersBetween(min, max)
    if (range === undefined) throw new SchemaRefused('minimum', path, 'no integer lies between the bounds')
    for (const [, max] of range.matchAll(/(\d+)\}/g)) this.#budget.spend('grammarRepeats', Number(max), path)
    return this.#rule(range, path)
  }

  /** A numeric bound, rounded to the nearest integer that satisfies it; infinite if absent. */
  #limit(schema: Schema, keyword: string, path: string, round: (value: number) => number): number {
    const value = has(schema, keyword) ? schema[keyword] : undefined
    const none = keyword.endsWith('inimum') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
    if (typeof value === 'number' && !Number.isNaN(value)) return round(value)
    if (value === undefined || value === null || value === false || !this.#strict) return none
    throw new SchemaRefused(keyword, path, 'it must be a number')
  }

  /** A pair of counts. Every bound that becomes a repetition is read here. */
  #bounds(schema: Schema, low: string, high: string, path: string): [number, number] {
    const min = this.#count(schema, low, path) ?? 0
    const max = this.#count(schema, high, path) ?? Number.POSITIVE_INFINITY
    if (min <= max) return [min, max]
    if (!this.#strict) return [0, Number.POSITIVE_INFINITY]
    throw new SchemaRefused(low, path, `${low} is more than ${high} (${min} and ${max}). Use at most ${max}`)
  }

  #count(schema: Schema, keyword: string, path: string): number | undefined {
    const value = has(schema, keyword) ? schema[keyword] : undefined
    // Adding zero turns -0 into 0, whose text the grammar reader accepts.
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value + 0
    if (value === undefined || value === null || !this.#strict) return undefined
    throw new SchemaRefused(keyword, path, 'it must be a non-negative integer')
  }

  #any(forms: readonly Form[], keyword: string, path: string): Form {
    const distinct = unique(forms)
    const [only] = distinct
    if (only && distinct.length === 1) return only
    const constants = distinct.flatMap((form) => form.literals ?? [])
    const others = distinct.filter((form) => !form.literals)
    const kinds = distinct.reduce((all, form) => all | (form.literals ? form.kinds : 0), 0)
    const tree = constants.length > 0 ? [this.#tree(constants, kinds, path)] : []
    const alternatives = [...others, ...tree]
    if (alternatives.length === 1 && alternatives[0]) return alternatives[0]
    const starts = alternatives.reduce((sum, form) => sum + form.starts, 0)
    this.#budget.hold('grammarStacks', starts, path)
    const parts = unique(alternatives.flatMap((form) => form.parts ?? [form]))
    this.#budget.spend('schemaCompared', parts.length, path)
    const branches = stacksOfBranches(parts, this.#recursion, (compared) =>
      this.#budget.spend('schemaCompared', compared, path),
    )
    if (branches === undefined) {
      const reason =
        'its branches cannot be distinguished before they repeat themselves. Give each a first required property with a constant of its own'
      throw new SchemaRefused(keyword, path, reason)
    }
    const stacks = Math.max(starts, branches)
    this.#budget.hold('grammarStacks', stacks, path)
    return {
      ...formOf(
        `(${alternatives.map(({ text }) => text).join(' | ')})`,
        parts.reduce((all, form) => all | form.kinds, 0),
        stacks,
        starts,
      ),
      open: this.#recursion.openOf(parts),
      parts,
    }
  }

  /** A schema's form as one rule name, usable in a sequence. */
  #part(schema: unknown, path: string, depth: number): Form {
    const form = this.#value(schema, path, depth + 1)
    return /^[a-z0-9-]+$/.test(form.text) ? form : { ...form, text: this.#rule(form.text, path) }
  }

  /** The name of the rule with this text; equal texts share one rule. */
  #rule(text: string, path: string): string {
    const known = this.#named.get(text)
    if (known !== undefined) return known
    const rule = this.#newName()
    this.#named.set(text, rule)
    this.#define(rule, text, path)
    return rule
  }

  #newName(): string {
    return `${this.#name}-${this.#names++}`
  }

  #define(rule: string, text: string, path: string): void {
    this.#budget.spend('grammarBytes', rule.length + text.length + 6, path)
    this.#rules.set(rule, text)
  }
}

/** An empty alternative comes first: after a trailing "|" the library would read on into the next rule. */
function orElse(text: string, other: string): string {
  return other === '' ? `| ${text}` : `${text} | ${other}`
}

/** The library stores equal alternatives once. */
function unique(forms: readonly Form[]): Form[] {
  return [...new Map(forms.map((form) => [form.text, form])).values()]
}

/** Consecutive optional properties and the property after them each have an open parse stack. */
function longestChoice(members: readonly Member[]): number {
  let max = 1
  let row = 1
  for (const { wanted } of members) {
    row = wanted ? 1 : row + 1
    max = Math.max(max, row)
  }
  return max
}

function pointerKey(step: string): string | undefined {
  try {
    return decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
  } catch {
    return undefined
  }
}

const above = (value: number) => Math.floor(value) + 1
const below = (value: number) => Math.ceil(value) - 1

function isKeyword(key: string): boolean {
  return types.some((type) => keywordsOf[type]?.includes(key))
}

function isSchema(value: unknown): value is Schema {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

/** Whether the schema has its own key: inherited names such as `constructor` do not count. */
function has(schema: object, key: string): boolean {
  return Object.hasOwn(schema, key)
}

function typesOf({ type, properties, required, items, prefixItems, nullable }: Schema): string[] {
  const listed = [...new Set(Array.isArray(type) ? type.map(String) : type === undefined ? [] : [String(type)])]
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

function kindOf(value: unknown): number {
  if (value === null) return kind.null
  if (Array.isArray(value)) return kind.array
  if (typeof value === 'object') return kind.object
  if (typeof value === 'string') return kind.string
  return typeof value === 'boolean' ? kind.boolean : kind.number
}
