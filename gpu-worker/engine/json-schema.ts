/**
 * Compiles a JSON schema to a GBNF grammar.
 *
 * The grammar accepts a subset of what the schema accepts, never more: properties come in the schema's order, an object
 * with named properties has others only if the schema says which, and white space is limited. Strings and numbers are
 * automata (automaton.ts), so all their keywords apply together. In strict mode a keyword that cannot be enforced is
 * refused by name; otherwise it is left out, with a warning.
 *
 * All work is charged to one budget (compile-budget.ts). The library follows every possible parse of an answer at once,
 * with one parse stack each, and each stack costs a pass over the vocabulary per token. So each form carries the
 * maximum number of its stacks (form.ts), and a form with too many is refused.
 */

import { automatonOf, type Machine, termMachine, writeAutomaton } from './automaton.ts'
import { type CharSet, chars, contains, every, inverse, union } from './char-set.ts'
import { CompileBudget, SchemaRefused, shown } from './compile-budget.ts'
import { anyValue, type Form, formOf, kind, type Member, Recursion, stacksOfBranches } from './form.ts'
import { integersBetween } from './integer-range.ts'
import { literals, quoted } from './literals.ts'
import { type NumberBounds, numberMachine } from './number-text.ts'
import { PatternRefused, patternTerm } from './pattern.ts'
import { dumps } from './python-json.ts'
import { repetition } from './repetition.ts'
import { type Merger, mergeSchemas } from './schema-merge.ts'
import { isSchema, itemsOf, type SchemaObject, same } from './schema-parts.ts'
import { isValue, type ValueReader } from './schema-value.ts'
import { formatPattern } from './string-format.ts'
import { type Term, TermStore } from './string-term.ts'

export type Compiled =
  | {
      ok: true /** One rule per item. The start rule is `name`. */
      rules: string[]
      form: Form /** Keywords that are not enforced. */
      warnings: string[]
    }
  | { ok: false; keyword: string; path: string; reason: string }

/** A schema that is nested deeper is refused. The budget `schemaVisits` bounds chains of references. */
const depthMax = 64

const keywordsOf: Record<string, readonly string[]> = {
  object: [
    ...['properties', 'required', 'additionalProperties', 'unevaluatedProperties', 'patternProperties'],
    ...['propertyNames', 'minProperties', 'maxProperties', 'dependentRequired', 'dependentSchemas', 'dependencies'],
  ],
  array: [
    ...['items', 'prefixItems', 'additionalItems', 'unevaluatedItems', 'minItems', 'maxItems', 'uniqueItems'],
    ...['contains'],
  ],
  string: ['minLength', 'maxLength', 'format', 'pattern'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
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

/**
 * @param name prefix of all compiled rules; the grammar must also have `jsonRules`
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
  readonly #warnings = new Set<string>()
  readonly #terms: TermStore
  readonly #merger: Merger
  readonly #reader: ValueReader
  readonly #patterns = new Map<string, Term>()
  readonly #automata = new Map<string, { rule: string; stacks: number }>()
  #anchors: Map<string, unknown> | undefined
  #names = 0
  /** The path of the schema being compiled. */
  path = '#'

  constructor(root: unknown, name: string, strict: boolean, budget: CompileBudget) {
    this.#root = root
    this.#name = name
    this.#strict = strict
    this.#budget = budget
    this.#terms = new TermStore((steps) => budget.spend('automatonSteps', steps, this.path))
    const matches = (pattern: string, text: string) => this.#terms.matches(this.#pattern(pattern), text)
    this.#merger = {
      spend: (compared) => budget.spend('schemaCompared', compared, this.path),
      unmerged: (keyword) =>
        this.#unenforced(keyword, this.path, 'two of its values apply to one value. Use one of them'),
      matches,
    }
    this.#reader = {
      target: (ref) => this.#target(ref, this.path),
      matches,
      format: formatPattern,
      spend: () => budget.spend('schemaVisits', 1, this.path),
    }
  }

  write(): { rules: string[]; form: Form; warnings: string[] } {
    const form = this.#value(this.#root, '#', 0)
    this.#budget.spend('grammarBytes', form.text.length + this.#name.length + 6, '#')
    return {
      rules: [`${this.#name} ::= ${form.text}`, ...[...this.#rules].map(([rule, text]) => `${rule} ::= ${text}`)],
      form,
      warnings: [...this.#warnings],
    }
  }

  /** Refuses a keyword, or leaves it out with a warning. */
  #unenforced(keyword: string, path: string, reason: string): void {
    if (this.#strict) throw new SchemaRefused(keyword, path, reason)
    this.#warnings.add(`"${shown(keyword)}" at ${shown(path)} is not enforced: ${reason}`)
  }

  #value(schema: unknown, path: string, depth: number): Form {
    this.path = path
    if (depth > depthMax)
      throw new SchemaRefused('schema', path, `it is nested more than ${depthMax} deep. Use a flatter schema`)
    this.#budget.spend('schemaVisits', 1, path)
    if (schema === true || schema === undefined) return anyValue
    if (!isSchema(schema)) throw new NothingMatches('false', path, 'nothing can match it. Remove it')
    if (typeof schema.$ref === 'string') {
      const { $ref, ...siblings } = schema
      if (!Object.keys(siblings).some((key) => isConstraint(key))) return this.#reference($ref as string, path, depth)
      return this.#value(this.#merged([siblings, this.#target($ref as string, path)], '$ref', path), path, depth + 1)
    }
    if (Array.isArray(schema.allOf)) return this.#value(this.#allOf(schema, path), path, depth + 1)
    if (has(schema, 'const') || Array.isArray(schema.enum)) return this.#enumeration(schema, path)
    if (Array.isArray(schema.anyOf)) return this.#branches(schema, 'anyOf', path, depth)
    if (Array.isArray(schema.oneOf)) return this.#branches(schema, 'oneOf', path, depth)
    const alternatives = this.#withoutNot(schema, path)
    this.#checkKeywords(schema, alternatives, path)
    if (alternatives === types && !Object.keys(schema).some((key) => isKeyword(key))) return anyValue
    return this.#any(
      alternatives.map((type) => this.#typed(schema, type, path, depth)),
      'type',
      path,
    )
  }

  #typed(schema: SchemaObject, type: string, path: string, depth: number): Form {
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
        return this.#number(schema, path)
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
    const anchored = ref !== '#' && !ref.startsWith('#/')
    const found = anchored ? this.#anchored(ref, path) : undefined
    const steps = anchored ? (found?.steps ?? []) : ref.split('/').slice(1)
    let target: unknown = anchored ? found?.schema : this.#root
    for (const step of steps) {
      this.#budget.spend('schemaVisits', 1, path)
      const key = pointerKey(step)
      if (key === undefined) throw new SchemaRefused('$ref', path, `"${shown(ref)}" has a stray "%". Write it as %25`)
      target =
        (isSchema(target) || Array.isArray(target)) && has(target as SchemaObject, key)
          ? (target as SchemaObject)[key]
          : undefined
    }
    if (target === undefined)
      throw new SchemaRefused(
        '$ref',
        path,
        `"${shown(ref)}" points to nothing. Add the definition or correct the reference`,
      )
    return target
  }

  /** The schema that an `$anchor` or `$id` names, and the pointer from there. */
  #anchored(ref: string, path: string): { schema: unknown; steps: string[] } | undefined {
    if (!this.#anchors) {
      this.#anchors = new Map()
      const waiting: unknown[] = [this.#root]
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        this.#budget.spend('schemaCompared', 1, path)
        if (next === null || typeof next !== 'object') continue
        if (isSchema(next)) {
          for (const key of ['$anchor', '$dynamicAnchor'])
            if (typeof next[key] === 'string') this.#anchors.set(`#${next[key]}`, next)
          for (const key of ['$id', 'id']) if (typeof next[key] === 'string') this.#anchors.set(String(next[key]), next)
        }
        waiting.push(...Object.values(next))
      }
    }
    const [base = '', pointer] = ref.startsWith('#') ? [ref] : ref.split('#', 2)
    const schema = this.#anchors.get(ref) ?? this.#anchors.get(base)
    if (schema === undefined || (pointer && !pointer.startsWith('/') && this.#anchors.get(ref) === undefined))
      throw new SchemaRefused(
        '$ref',
        path,
        `"${shown(ref)}" points outside the schema. Use a reference that begins with "#/"`,
      )
    return { schema, steps: pointer?.startsWith('/') ? pointer.split('/').slice(1) : [] }
  }

  /** The values of `enum` and `const` that match all other keywords. */
  #enumeration(schema: SchemaObject, path: string): Form {
    const listed = Array.isArray(schema.enum) ? (schema.enum as unknown[]) : [schema.const]
    this.#budget.spend('schemaAlternatives', listed.length, path)
    // Few schemas have keywords that the loop must check besides the list itself.
    const { enum: _, ...rest } = schema
    const values = listed.filter((value) => this.#isValue(value, rest, path))
    if (values.length === 0) throw new NothingMatches('enum', path, 'no value matches the other keywords')
    return this.#literals(values, path)
  }

  #isValue(value: unknown, schema: unknown, path: string): boolean {
    try {
      return isValue(value, schema, this.#reader)
    } catch (error) {
      if (!(error instanceof PatternRefused)) throw error
      this.#unenforced('pattern', path, error.message)
      return true
    }
  }

  /** Constants of any type, as one prefix tree of their texts. */
  #literals(values: readonly unknown[], path: string): Form {
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
  #branches(schema: SchemaObject, keyword: 'anyOf' | 'oneOf', path: string, depth: number): Form {
    const { [keyword]: branches, ...rest } = schema
    const shared = Object.keys(rest).some((key) => isConstraint(key))
    this.#budget.spend('schemaAlternatives', (branches as unknown[]).length, path)
    const alternatives = (branches as unknown[]).flatMap((branch, index) =>
      this.#possible(() => {
        const each = shared ? this.#merged([rest, branch], keyword, path) : branch
        return this.#value(each, `${path}/${keyword}/${index}`, depth + 1)
      }),
    )
    if ((branches as unknown[]).length === 0)
      throw new SchemaRefused(keyword, path, 'it has no branch. Add at least one')
    if (alternatives.length === 0) throw new NothingMatches(keyword, path, 'nothing can match any of its branches')
    if (keyword === 'oneOf') this.#checkDisjoint(alternatives, path)
    return this.#any(alternatives, keyword, path)
  }

  /** An empty list if nothing can match. */
  #possible<Result>(compile: () => Result): Result[] {
    try {
      return [compile()]
    } catch (error) {
      if (error instanceof NothingMatches) return []
      throw error
    }
  }

  #checkDisjoint(forms: readonly Form[], path: string): void {
    for (const [index, form] of forms.entries())
      for (const other of forms.slice(index + 1)) {
        this.#budget.spend('schemaCompared', 1, path)
        if (isDisjoint(form, other)) continue
        const reason =
          'a value may match two of its branches. Use anyOf, or give each branch a required property with its own constant'
        this.#unenforced('oneOf', path, reason)
        return
      }
  }

  /** One schema of all parts; false if nothing can match it. References in the parts are replaced by their targets. */
  #merged(parts: readonly unknown[], keyword: string, path: string): SchemaObject | false {
    let result: SchemaObject | false = {}
    const waiting = [...parts].reverse()
    for (let part = waiting.pop(); result && (waiting.length > 0 || part !== undefined); part = waiting.pop()) {
      this.#budget.spend('schemaVisits', 1, path)
      if (part === true || part === undefined) continue
      if (part === false) return false
      if (!isSchema(part)) throw new SchemaRefused(keyword, path, 'each branch must be a schema')
      const { $ref, allOf, ...rest } = part
      if (typeof $ref === 'string') waiting.push(this.#target($ref, path))
      if (Array.isArray(allOf)) waiting.push(...[...allOf].reverse())
      result = mergeSchemas(result, rest, this.#merger)
    }
    return result
  }

  #allOf(schema: SchemaObject, path: string): SchemaObject | false {
    return this.#merged([schema], 'allOf', path)
  }

  /** The names in `required`. */
  #required(required: unknown, path: string): string[] {
    if (required === undefined) return []
    if (Array.isArray(required) && required.every((name) => typeof name === 'string')) return required
    this.#unenforced('required', path, 'it must be a list of names')
    return Array.isArray(required) ? required.filter((name) => typeof name === 'string') : []
  }

  /** The types that `type` and `not` leave. */
  #withoutNot(schema: SchemaObject, path: string): string[] {
    const alternatives = typesOf(schema)
    const { not } = schema
    if (!has(schema, 'not') || not === false) return alternatives
    const keys = isSchema(not) ? Object.keys(not).filter((key) => isConstraint(key)) : []
    if (not === true || (isSchema(not) && keys.length === 0))
      throw new NothingMatches('not', path, 'it excludes every value. Remove it')
    const excluded =
      isSchema(not) && keys.length === 1 && keys[0] === 'type' ? [not.type].flat().map(String) : undefined
    if (excluded && !(excluded.includes('integer') && alternatives.includes('number'))) {
      const left = alternatives.filter(
        (type) => !excluded.includes(type) && !(type === 'integer' && excluded.includes('number')),
      )
      if (left.length === 0) throw new NothingMatches('not', path, 'it excludes every type')
      return left
    }
    const isText = alternatives.length === 1 && alternatives[0] === 'string'
    if (!isText || !isSchema(not) || !keys.every((key) => excludable.has(key)))
      this.#unenforced('not', path, 'it is enforced only for types, and for strings. List what is allowed instead')
    return alternatives
  }

  #checkKeywords(schema: SchemaObject, alternatives: readonly string[], path: string): void {
    const no = (keyword: string, reason: string) => {
      if (has(schema, keyword)) this.#unenforced(keyword, path, reason)
    }
    if (has(schema, 'then') || has(schema, 'else')) no('if', 'it is not supported. Use anyOf with one branch per case')
    no('$dynamicRef', 'it is not supported. Use $ref')
    no('$recursiveRef', 'it is not supported. Use $ref')
    if (alternatives.includes('array')) this.#checkArray(schema, path)
    if (!alternatives.includes('object')) return
    no('dependentSchemas', 'it is not supported. Use anyOf with one branch per case')
    no('dependencies', 'it is not supported. Use anyOf with one branch per case')
    const required = new Set(this.#required(schema.required, path))
    for (const [name, others] of Object.entries(isSchema(schema.dependentRequired) ? schema.dependentRequired : {}))
      if (!Array.isArray(others) || !others.every((other) => other === name || required.has(String(other))))
        no('dependentRequired', 'it is not supported. Use anyOf with one branch per case')
  }

  #checkArray(schema: SchemaObject, path: string): void {
    const { maxItems, minContains } = schema
    if (schema.uniqueItems === true && !(typeof maxItems === 'number' && maxItems <= 1))
      this.#unenforced('uniqueItems', path, 'items cannot be compared. Remove it, and remove duplicates afterwards')
    if (has(schema, 'contains') && minContains !== 0)
      this.#unenforced('contains', path, 'it is not supported. Describe all items with "items" and "prefixItems"')
  }

  #object(schema: SchemaObject, path: string, depth: number): Form {
    const { properties } = schema
    const other = schema.additionalProperties ?? schema.unevaluatedProperties
    if (this.#strict && properties !== undefined && !isSchema(properties))
      throw new SchemaRefused('properties', path, 'it must be an object')
    const bounds = this.#bounds(schema, 'minProperties', 'maxProperties', path)
    const wanted = new Set(this.#required(schema.required, path))
    const declared = isSchema(properties) ? Object.keys(properties) : []
    const names = [...new Set([...declared, ...wanted])]
    if (names.length === 0) return this.#map(schema, other, bounds, path, depth)
    this.#checkSize(schema, names.length, wanted.size, path)
    this.#recursion.wrap()
    const members = names.flatMap((key) => this.#member(schema, other, key, wanted.has(key), path, depth))
    const isOpen = isSchema(schema.patternProperties) || (other !== undefined && other !== false)
    const extra = isOpen ? this.#extras(schema, other, names, path, depth) : undefined
    this.#recursion.unwrap()
    const forms = [...members.map(({ form }) => form), ...(extra ? [extra] : [])]
    const stacks = Math.max(longestChoice(members), ...forms.map((form) => this.#recursion.stacksOf(form))) + 4
    this.#budget.hold('grammarStacks', stacks, path)
    const others = extra && `${extra.text} ${this.#rule(`"," ws ${extra.text}`, path)}*`
    const texts = [...members, ...(others ? [{ wanted: false, text: this.#rule(others, path) }] : [])]
    const body = texts.length === 0 ? '"{" ws "}"' : `"{" ws ${this.#members(texts, path)} ws "}"`
    return {
      ...formOf(body, kind.object, stacks),
      open: this.#recursion.openOf(forms),
      ...(!extra && { members }),
      properties: { members, closed: other === false && !extra },
    }
  }

  /** An empty list for an optional property that no value matches: it is left out. */
  #member(
    schema: SchemaObject,
    other: unknown,
    key: string,
    wanted: boolean,
    path: string,
    depth: number,
  ): NamedMember[] {
    const { properties, patternProperties } = schema
    const at = `${path}/properties/${key}`
    const patterns = Object.entries(isSchema(patternProperties) ? patternProperties : {})
    const schemas = patterns.flatMap(([pattern, each]) => (this.#matches(pattern, key, path) ? [each] : []))
    if (isSchema(properties) && has(properties, key)) schemas.unshift(properties[key])
    if (schemas.length === 0 && other === false)
      throw new NothingMatches('required', path, `"${shown(key)}" is required but "additionalProperties" forbids it`)
    const value = schemas.length > 1 ? { allOf: schemas } : schemas.length === 1 ? schemas[0] : (other ?? true)
    const named = has(schema, 'propertyNames') ? this.#isValue(key, schema.propertyNames, path) : true
    const [form] = named ? this.#possible(() => this.#part(value, at, depth)) : []
    if (!form && wanted) throw new NothingMatches('required', at, 'it is required, but nothing can match it')
    if (!form) return []
    const name = quoted(`${this.#dumped(key, path)}:`)
    return [{ key, wanted, form, text: `${name} ws ${form.text}` }]
  }

  #matches(pattern: string, text: string, path: string): boolean {
    try {
      return this.#terms.matches(this.#pattern(pattern), text)
    } catch (error) {
      if (!(error instanceof PatternRefused)) throw error
      this.#unenforced('patternProperties', path, error.message)
      return false
    }
  }

  /** One property that is not named; undefined if there is none. */
  #extras(
    schema: SchemaObject,
    other: unknown,
    names: readonly string[],
    path: string,
    depth: number,
  ): Form | undefined {
    const terms = this.#terms
    const patterns = Object.entries(isSchema(schema.patternProperties) ? schema.patternProperties : {}).flatMap(
      ([pattern, each]) => this.#keyPattern(pattern, path).map((term) => ({ pattern, term, each })),
    )
    if (patterns.length > patternsMax) {
      const reason = `it has more than ${patternsMax} patterns. Use fewer patterns`
      this.#unenforced('patternProperties', path, reason)
      patterns.length = 0
    }
    const unnamed = names.length === 0 ? [] : [terms.not(terms.or(names.map((name) => terms.text(name))))]
    const allowed = has(schema, 'propertyNames') ? [this.#keyTerm(schema.propertyNames, path)] : []
    const forms: Form[] = []
    for (let mask = 0; mask < 2 ** patterns.length; mask++) {
      const matched = patterns.filter((_, index) => mask & (2 ** index))
      // Other properties of an object with named ones are written only if the schema describes them.
      const value = mask === 0 ? (other ?? names.length === 0) : { allOf: matched.map(({ each }) => each) }
      const key = terms.and([
        ...patterns.map(({ term }, index) => (mask & (2 ** index) ? term : terms.not(term))),
        ...unnamed,
        ...allowed,
      ])
      const at = mask === 0 ? `${path}/additionalProperties` : `${path}/patternProperties/${matched[0]?.pattern ?? ''}`
      forms.push(...this.#possible(() => this.#extra(key, value, at, depth)))
    }
    if (forms.length === 0) return undefined
    const stacks = forms.reduce((sum, form) => sum + this.#recursion.stacksOf(form), 0)
    const text =
      forms.length === 1 ? (forms[0]?.text ?? '') : this.#rule(forms.map((form) => form.text).join(' | '), path)
    return { ...formOf(text, kind.object, stacks), open: this.#recursion.openOf(forms) }
  }

  #extra(key: Term, value: unknown, path: string, depth: number): Form {
    if (value === false) throw new NothingMatches('false', path, 'no other property is allowed')
    const name = this.#text(key, 'propertyNames', path)
    const form = this.#part(value, path, depth)
    const stacks = this.#recursion.stacksOf(form) + name.stacks
    return { ...form, text: this.#rule(`${name.text} ":" ws ${form.text}`, path), stacks }
  }

  #keyPattern(pattern: string, path: string): Term[] {
    try {
      return [this.#pattern(pattern)]
    } catch (error) {
      if (!(error instanceof PatternRefused)) throw error
      this.#unenforced('patternProperties', path, error.message)
      return []
    }
  }

  /** The names that `propertyNames` allows. */
  #keyTerm(schema: unknown, path: string): Term {
    if (schema === true || schema === undefined) return this.#terms.all
    const merged = schema === false ? false : this.#merged([schema], 'propertyNames', path)
    if (!merged) return this.#terms.none
    const { anyOf, oneOf, type } = merged
    if (anyOf !== undefined || oneOf !== undefined || has(merged, 'if'))
      this.#unenforced('propertyNames', path, 'its branches are not supported. Use one pattern')
    if (type !== undefined && ![type].flat().includes('string')) return this.#terms.none
    return this.#stringTerm(merged, `${path}/propertyNames`)
  }

  /** An object with named properties may have any number of them from the required ones to all. */
  #checkSize(
    { minProperties: min, maxProperties: max }: SchemaObject,
    named: number,
    wanted: number,
    path: string,
  ): void {
    if (typeof min === 'number' && min > wanted)
      this.#unenforced(
        'minProperties',
        path,
        'it is more than the number of required properties. Lower it or require more properties',
      )
    if (typeof max === 'number' && max < named)
      this.#unenforced(
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

  #map(schema: SchemaObject, other: unknown, [min, max]: [number, number], path: string, depth: number): Form {
    const plain = !has(schema, 'propertyNames') && !has(schema, 'patternProperties')
    this.#recursion.wrap()
    const member =
      plain && other !== false ? this.#plainMember(other, path, depth) : this.#extras(schema, other, [], path, depth)
    this.#recursion.unwrap()
    if (!member) {
      if (min > 0) throw new NothingMatches('minProperties', path, 'no property is allowed. Use 0')
      return formOf('"{" ws "}"', kind.object, 4)
    }
    const stacks = Math.max(6, this.#recursion.stacksOf(member)) + 6
    return {
      ...formOf(`"{" ws ${this.#list(member.text, min, max, path)} "}"`, kind.object, stacks),
      open: member.open,
    }
  }

  #plainMember(other: unknown, path: string, depth: number): Form | undefined {
    const [form] = this.#possible(() => this.#part(other, `${path}/additionalProperties`, depth))
    return form && { ...form, text: this.#rule(`string ":" ws ${form.text}`, path) }
  }

  #array(schema: SchemaObject, path: string, depth: number): Form {
    const [min, max] = this.#bounds(schema, 'minItems', 'maxItems', path)
    this.#recursion.wrap()
    const { prefix, rest, restKeyword } = itemsOf(schema)
    const form =
      prefix.length > 0
        ? this.#tuple(prefix, [rest, `${path}/${restKeyword}`], [min, max], path, depth)
        : this.#items([rest, `${path}/${restKeyword}`], [min, max], path, depth)
    this.#recursion.unwrap()
    return form
  }

  #items([items, at]: [unknown, string], [min, max]: [number, number], path: string, depth: number): Form {
    const [item] = max === 0 ? [] : this.#possible(() => this.#part(items, at, depth))
    if (!item) {
      if (min > 0) throw new NothingMatches('minItems', path, 'no item is allowed. Use 0')
      return formOf('"[" ws "]"', kind.array, 4)
    }
    const stacks = this.#recursion.stacksOf(item) + 8
    return { ...formOf(`"[" ws ${this.#list(item.text, min, max, path)} "]"`, kind.array, stacks), open: item.open }
  }

  /** The listed items, and then the items of `rest`. Fewer than the listed ones are written only if `maxItems` says. */
  #tuple(
    prefix: readonly unknown[],
    [rest, at]: [unknown, string],
    [min, max]: [number, number],
    path: string,
    depth: number,
  ): Form {
    const listed = prefix.slice(0, Math.min(max, prefix.length))
    const items = listed.flatMap((item, index) => {
      const [form] = this.#possible(() => this.#part(item, `${path}/prefixItems/${index}`, depth))
      if (!form && index < min) throw new NothingMatches('prefixItems', path, 'an item is needed that nothing matches')
      return [form]
    })
    const end = items.indexOf(undefined)
    const forms = (end < 0 ? items : items.slice(0, end)) as Form[]
    const open = end < 0 && max > prefix.length && rest !== false && (rest !== undefined || min > prefix.length)
    const [more] = open ? this.#possible(() => this.#part(rest, at, depth)) : []
    if (!more && min > forms.length) throw new NothingMatches('minItems', path, 'it is more than the items allowed')
    const all = more ? [...forms, more] : forms
    const stacks = Math.max(0, ...all.map((item) => this.#recursion.stacksOf(item))) + 8
    const tail = more
      ? this.#times(this.#rule(`"," ws ${more.text}`, path), Math.max(0, min - forms.length), max - forms.length, path)
      : ''
    const body = this.#prefix(forms, Math.min(min, forms.length), tail, path)
    return { ...formOf(`"[" ws ${body} ws "]"`, kind.array, stacks), open: this.#recursion.openOf(all) }
  }

  /** At least `min` of the items in their order, and after the last one `tail`. */
  #prefix(forms: readonly Form[], min: number, tail: string, path: string): string {
    let text = tail
    for (let index = forms.length - 1; index >= 0; index--) {
      const item = `${index === 0 ? '' : '"," ws '}${forms[index]?.text ?? ''}${text === '' ? '' : ` ${text}`}`
      text = index < min ? item : this.#rule(orElse(item, ''), path)
    }
    return text
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

  #string(schema: SchemaObject, path: string): Form {
    const [min, max] = this.#bounds(schema, 'minLength', 'maxLength', path)
    const others = this.#stringTerm({ ...schema, minLength: undefined, maxLength: undefined }, path)
    if (others !== this.#terms.all) {
      const sized = this.#terms.and([others, this.#terms.repeat(this.#terms.any, min, max)])
      return this.#text(sized, has(schema, 'pattern') ? 'pattern' : 'format', path)
    }
    if (min === 0 && max === Number.POSITIVE_INFINITY) return formOf('string', kind.string, 4)
    // One rule for each pair of bounds: a schema often repeats them.
    const text =
      this.#named.get(`string ${min} ${max}`) ?? this.#rule(`"\\"" ${this.#times('char', min, max, path)} "\\""`, path)
    this.#named.set(`string ${min} ${max}`, text)
    return formOf(text, kind.string, 10)
  }

  /** All keywords for strings. */
  #stringTerm(schema: SchemaObject, path: string): Term {
    const [min, max] = this.#bounds(schema, 'minLength', 'maxLength', path)
    const parts: Term[] = []
    if (min > 0 || max !== Number.POSITIVE_INFINITY) parts.push(this.#terms.repeat(this.#terms.any, min, max))
    for (const pattern of [schema.pattern].flat()) {
      if (pattern === undefined) continue
      if (typeof pattern === 'string') parts.push(...this.#patternOr(pattern, path))
      else this.#unenforced('pattern', path, 'it must be a string')
    }
    for (const format of [schema.format].flat()) {
      const pattern = formatPattern(format)
      if (pattern !== undefined) parts.push(this.#pattern(pattern))
    }
    const listed = has(schema, 'const') ? [schema.const] : schema.enum
    if (Array.isArray(listed))
      parts.push(this.#terms.or(listed.flatMap((each) => (typeof each === 'string' ? [this.#terms.text(each)] : []))))
    const { not } = schema
    if (isSchema(not) && Object.keys(not).every((key) => !isConstraint(key) || excludable.has(key))) {
      const isText = not.type === undefined || [not.type].flat().includes('string')
      if (isText) parts.push(this.#terms.not(this.#stringTerm(not, `${path}/not`)))
    }
    return this.#terms.and(parts)
  }

  #patternOr(pattern: string, path: string): Term[] {
    try {
      return [this.#pattern(pattern)]
    } catch (error) {
      if (!(error instanceof PatternRefused)) throw error
      this.#unenforced('pattern', path, error.message)
      return []
    }
  }

  #pattern(source: string): Term {
    const term = this.#patterns.get(source) ?? patternTerm(source, this.#terms)
    this.#patterns.set(source, term)
    return term
  }

  /** A JSON string whose text the term matches. */
  #text(term: Term, keyword: string, path: string): Form {
    if (term === this.#terms.all) return formOf('string', kind.string, 4)
    const { rule, stacks } = this.#automaton(`text ${term.id}`, termMachine(term, this.#terms), keyword, path)
    return formOf(this.#rule(`"\\"" ${rule}`, path), kind.string, stacks + 4)
  }

  #automaton<State>(key: string, machine: Machine<State>, keyword: string, path: string) {
    const known = this.#automata.get(key)
    if (known) return known
    const automaton = automatonOf(machine, () => this.#budget.spend('automatonStates', 1, path))
    if (!automaton) throw new NothingMatches(keyword, path, 'no value matches it and the keywords next to it')
    const isText = key.startsWith('text')
    const written = writeAutomaton(automaton, {
      name: () => this.#newName(),
      define: (name, text) => this.#define(name, text, path),
      character: (set) => (isText ? this.#character(set, path) : classOf(set)),
      end: isText ? '"\\""' : '',
    })
    this.#budget.hold('grammarStacks', written.stacks, path)
    this.#automata.set(key, written)
    return written
  }

  /** One character of a JSON string. Characters that need an escape have one spelling. */
  #character(set: CharSet, path: string): string {
    if (same(set, every)) return 'char'
    const plain = inverse(union(inverse(set), escaped))
    const texts = plain.length > 0 ? [classOf(plain)] : []
    for (const [code, letter] of escapes) if (contains(set, code)) texts.push(quoted(`\\${letter}`))
    for (const code of controls) if (contains(set, code)) texts.push(quoted(`\\u${code.toString(16).padStart(4, '0')}`))
    const [only = ''] = texts
    return texts.length === 1 ? only : this.#rule(texts.join(' | '), path)
  }

  #integer(schema: SchemaObject, path: string): Form {
    const min = Math.max(
      this.#limit(schema, 'minimum', path, Math.ceil),
      this.#limit(schema, 'exclusiveMinimum', path, above),
    )
    const max = Math.min(
      this.#limit(schema, 'maximum', path, Math.floor),
      this.#limit(schema, 'exclusiveMaximum', path, below),
    )
    const multiples = this.#multiples(schema, path)
    if (multiples.length > 0 || [min, max].some((bound) => Number.isFinite(bound) && Math.abs(bound) >= 1e15))
      return this.#numbers({ integer: true, min, max, aboveMin: false, belowMax: false, multiples }, path)
    if (min === Number.NEGATIVE_INFINITY && max === Number.POSITIVE_INFINITY)
      return formOf('integer', kind.number, 4, 3)
    const known = this.#named.get(`integer ${min} ${max}`)
    const range = known ?? this.#range(min, max, path)
    this.#named.set(`integer ${min} ${max}`, range)
    return formOf(range, kind.number, 8, 6)
  }

  #number(schema: SchemaObject, path: string): Form {
    const exact = (value: number) => value
    const over = this.#limit(schema, 'exclusiveMinimum', path, exact)
    const under = this.#limit(schema, 'exclusiveMaximum', path, exact)
    const min = Math.max(this.#limit(schema, 'minimum', path, exact), over)
    const max = Math.min(this.#limit(schema, 'maximum', path, exact), under)
    const multiples = this.#multiples(schema, path)
    if (min === Number.NEGATIVE_INFINITY && max === Number.POSITIVE_INFINITY && multiples.length === 0)
      return formOf('number', kind.number, 6, 3)
    return this.#numbers({ integer: false, min, max, aboveMin: min === over, belowMax: max === under, multiples }, path)
  }

  #numbers(bounds: NumberBounds, path: string): Form {
    if (bounds.min > bounds.max) throw new SchemaRefused('minimum', path, 'no number lies between the bounds')
    const machine = numberMachine(bounds) ?? numberMachine({ ...bounds, multiples: [] })
    const { rule, stacks } = this.#automaton(JSON.stringify(bounds), machine as Machine<unknown>, 'minimum', path)
    return formOf(rule, kind.number, stacks + 4, stacks)
  }

  #multiples(schema: SchemaObject, path: string): number[] {
    return [schema.multipleOf].flat().filter((each): each is number => {
      if (each === undefined) return false
      if (typeof each === 'number' && each > 0 && numberMachine({ ...unbounded, multiples: [each] })) return true
      this.#unenforced('multipleOf', path, 'it must be a positive number of at most four digits')
      return false
    })
  }

  #range(min: number, max: number, path: string): string {
    const range = integersBetween(min, max)
    if (range === undefined) throw new SchemaRefused('minimum', path, 'no integer lies between the bounds')
    for (const [, max] of range.matchAll(/(\d+)\}/g)) this.#budget.spend('grammarRepeats', Number(max), path)
    return this.#rule(range, path)
  }

  /** A numeric bound, rounded to the nearest integer that satisfies it; infinite if absent. */
  #limit(schema: SchemaObject, keyword: string, path: string, round: (value: number) => number): number {
    const value = has(schema, keyword) ? schema[keyword] : undefined
    const none = keyword.endsWith('inimum') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
    // JSON numbers beyond the largest finite one arrive as that number.
    if (typeof value === 'number' && Math.abs(value) >= Number.MAX_VALUE) return value * 2
    if (typeof value === 'number' && !Number.isNaN(value)) return round(value)
    if (value !== undefined && value !== null) this.#unenforced(keyword, path, 'it must be a number')
    return none
  }

  /** A pair of counts. Every bound that becomes a repetition is read here. */
  #bounds(schema: SchemaObject, low: string, high: string, path: string): [number, number] {
    const min = this.#count(schema, low, path) ?? 0
    const max = this.#count(schema, high, path) ?? Number.POSITIVE_INFINITY
    if (min <= max) return [min, max]
    throw new SchemaRefused(low, path, `${low} is more than ${high} (${min} and ${max}). Use at most ${max}`)
  }

  #count(schema: SchemaObject, keyword: string, path: string): number | undefined {
    const value = has(schema, keyword) ? schema[keyword] : undefined
    // Adding zero turns -0 into 0, whose text the grammar reader accepts.
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value + 0
    if (value !== undefined && value !== null) this.#unenforced(keyword, path, 'it must be a non-negative integer')
    return undefined
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

/** Nothing matches this part of a schema. A branch or an optional property is left out; any other part is refused. */
class NothingMatches extends SchemaRefused {
  override name = 'NothingMatches'
}

interface NamedMember extends Member {
  text: string
}

/** Each combination of matching patterns has its own names and values. */
const patternsMax = 4
/** Keywords that `not` may have for a string. */
const excludable = new Set(['type', 'const', 'enum', 'pattern'])
const unbounded = {
  integer: false,
  min: Number.NEGATIVE_INFINITY,
  max: Number.POSITIVE_INFINITY,
  aboveMin: false,
  belowMax: false,
}

/** The characters with a short escape, and the other ones that are written as `\\u00XX`. */
const escapes = [
  [8, 'b'],
  [9, 't'],
  [10, 'n'],
  [12, 'f'],
  [13, 'r'],
  [34, '"'],
  [92, '\\'],
] as const
const controls = Array.from({ length: 32 }, (_, code) => code)
  .concat(127)
  .filter((code) => !escapes.some(([short]) => short === code))
const escaped = union([[0, 31]], [[127, 127]], chars('"\\\\'))

function classOf(set: CharSet): string {
  const one = (code: number) => `\\U${code.toString(16).padStart(8, '0').toUpperCase()}`
  const plain = (code: number) => {
    const text = String.fromCodePoint(code)
    return /^[A-Za-z0-9]$/.test(text) ? text : one(code)
  }
  return `[${set.map(([low, high]) => (low === high ? plain(low) : `${plain(low)}-${plain(high)}`)).join('')}]`
}

/** Whether no value can match both schemas. */
function isDisjoint(a: Form, b: Form): boolean {
  if (a.parts) return a.parts.every((part) => isDisjoint(part, b))
  if (b.parts) return b.parts.every((part) => isDisjoint(a, part))
  if (!(a.kinds & b.kinds)) return true
  if (a.literals && b.literals) return !a.literals.some((text) => b.literals?.includes(text))
  if (!a.properties || !b.properties) return false
  return isApart(a.properties, b.properties) || isApart(b.properties, a.properties)
}

/** Whether a required property of `a` is impossible in `b`. */
function isApart(a: NonNullable<Form['properties']>, b: NonNullable<Form['properties']>): boolean {
  const others = new Map(b.members.map((member) => [member.key, member.form]))
  return a.members.some(({ key, wanted, form }) => {
    const other = others.get(key)
    return wanted && (other ? isDisjoint(form, other) : b.closed)
  })
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

/** Whether the keyword constrains the value. Unknown keywords are annotations, as in the standard. */
function isConstraint(key: string): boolean {
  return isKeyword(key) || structural.has(key)
}

const structural = new Set(
  ['type', 'nullable', 'enum', 'const', 'allOf', 'anyOf', 'oneOf', 'not', 'if', 'then', 'else', '$ref'].concat([
    '$dynamicRef',
    '$recursiveRef',
    'minContains',
    'maxContains',
  ]),
)

function isKeyword(key: string): boolean {
  return types.some((type) => keywordsOf[type]?.includes(key))
}

/** Whether the schema has its own key: inherited names such as `constructor` do not count. */
function has(schema: object, key: string): boolean {
  return Object.hasOwn(schema, key)
}

function typesOf({ type, properties, required, items, prefixItems, nullable }: SchemaObject): string[] {
  const listed = [...new Set(Array.isArray(type) ? type.map(String) : type === undefined ? [] : [String(type)])]
  if (listed.length > 0) return nullable === true ? [...new Set([...listed, 'null'])] : listed
  if (properties !== undefined || required !== undefined) return ['object']
  if (items !== undefined || prefixItems !== undefined) return ['array']
  return types
}

function kindOf(value: unknown): number {
  if (value === null) return kind.null
  if (Array.isArray(value)) return kind.array
  if (typeof value === 'object') return kind.object
  if (typeof value === 'string') return kind.string
  return typeof value === 'boolean' ? kind.boolean : kind.number
}
