/** The rules, the budget and the warnings of one schema that is being compiled, shared by the files for each type. */
import { dumps } from '../python-json.ts'
import { type CompileBudget, NothingMatches, SchemaRefused, shown } from './compile-budget.ts'
import { type Form, Recursion } from './form.ts'
import { isValue, type ValueReader } from './is-value.ts'
import { quoted } from './literals.ts'
import { type Merger, mergeSchemas } from './merge-schemas.ts'
import { PatternRefused, patternTerm } from './pattern.ts'
import { References } from './references.ts'
import { repetition } from './repetition.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'
import { formatPattern } from './string-format.ts'
import { type Term, TermStore } from './string-term.ts'

/** Compiles any schema at a path of the client's schema. */
export type CompileValue = (writer: SchemaWriter, schema: unknown, path: string, depth: number) => Form

/** Warnings that are listed for one schema; the others are counted. */
const warningsMax = 16

export class SchemaWriter {
  readonly strict: boolean
  readonly budget: CompileBudget
  /** Names of rules by text, so that equal parts share one rule. */
  readonly named = new Map<string, string>()
  /** Forms of referenced schemas, so that recursion ends. */
  readonly referred = new Map<unknown, Form>()
  readonly recursion = new Recursion()
  readonly references: References
  readonly terms: TermStore
  /** Rules of automata, by the term or the bounds that they accept. */
  readonly automata = new Map<string, { rule: string; stacks: number }>()
  /** The path of the schema being compiled. */
  path = '#'
  readonly #root: unknown
  readonly #name: string
  readonly #value: CompileValue
  readonly #rules = new Map<string, string>()
  readonly #warnings = new Set<string>()
  readonly #patterns = new Map<string, Term>()
  readonly #merger: Merger
  readonly #reader: ValueReader
  #names = 0
  #unlisted = 0

  constructor(root: unknown, name: string, strict: boolean, budget: CompileBudget, value: CompileValue) {
    this.#root = root
    this.#name = name
    this.#value = value
    this.strict = strict
    this.budget = budget
    this.terms = new TermStore((steps) => budget.spend('automatonSteps', steps, this.path))
    this.references = new References(root, (path) => budget.spend('schemaVisits', 1, path))
    const matches = (pattern: string, text: string) => this.terms.matches(this.pattern(pattern), text)
    this.#merger = {
      spend: (compared) => budget.spend('schemaCompared', compared, this.path),
      unmerged: (keyword) =>
        this.unenforced(keyword, this.path, 'two of its values apply to one value. Use one of them'),
      matches,
    }
    this.#reader = {
      target: (ref, from) => this.references.target(ref, this.path, from),
      matches,
      format: formatPattern,
      spend: () => budget.spend('schemaVisits', 1, this.path),
    }
  }

  write(): { rules: string[]; form: Form; warnings: string[] } {
    const form = this.value(this.#root, '#', 0)
    this.budget.spend('grammarBytes', form.text.length + this.#name.length + 6, '#')
    return {
      rules: [`${this.#name} ::= ${form.text}`, ...[...this.#rules].map(([rule, text]) => `${rule} ::= ${text}`)],
      form,
      warnings: [...this.#warnings, ...(this.#unlisted > 0 ? [`and ${this.#unlisted} more`] : [])],
    }
  }

  value(schema: unknown, path: string, depth: number): Form {
    return this.#value(this, schema, path, depth)
  }

  /** A schema's form as one rule name, usable in a sequence. */
  part(schema: unknown, path: string, depth: number): Form {
    const form = this.value(schema, path, depth + 1)
    return /^[a-z0-9-]+$/.test(form.text) ? form : { ...form, text: this.rule(form.text, path) }
  }

  /** Refuses a keyword, or leaves it out with a warning. */
  unenforced(keyword: string, path: string, reason: string): void {
    if (this.strict) throw new SchemaRefused(keyword, path, reason)
    this.warn(`"${shown(keyword)}" at ${shown(path)} is not enforced: ${reason}`)
  }

  warn(warning: string): void {
    if (this.#warnings.size < warningsMax) this.#warnings.add(warning)
    else if (!this.#warnings.has(warning)) this.#unlisted++
  }

  /** The reason, if nothing can match. */
  attempt<Result>(compile: () => Result): Result | NothingMatches {
    try {
      return compile()
    } catch (error) {
      if (error instanceof NothingMatches) return error
      throw error
    }
  }

  /** An empty list if nothing can match. */
  possible<Result>(compile: () => Result): Result[] {
    const result = this.attempt(compile)
    return result instanceof NothingMatches ? [] : [result]
  }

  /** The results of those attempts of which at least one must succeed. */
  some<Result>(attempts: readonly (Result | NothingMatches)[]): Result[] {
    const results = attempts.filter((each): each is Result => !(each instanceof NothingMatches))
    const failed = attempts.find((each) => each instanceof NothingMatches)
    if (results.length === 0 && failed) throw failed
    return results
  }

  /** One schema of all parts; false if nothing can match it. References in the parts are replaced by their targets. */
  merged(parts: readonly unknown[], keyword: string, path: string): SchemaObject | false {
    let result: SchemaObject | false = {}
    const waiting = [...parts].reverse()
    for (let part = waiting.pop(); result && (waiting.length > 0 || part !== undefined); part = waiting.pop()) {
      this.budget.spend('schemaVisits', 1, path)
      if (part === true || part === undefined) continue
      if (part === false) return false
      if (!isSchema(part)) throw new SchemaRefused(keyword, path, 'each branch must be a schema')
      const { $ref, allOf, ...rest } = part
      if (typeof $ref === 'string') waiting.push(this.references.target($ref, path, part))
      if (Array.isArray(allOf)) waiting.push(...[...allOf].reverse())
      result = mergeSchemas(result, rest, this.#merger)
    }
    return result
  }

  /**
   * `merged`, with the keywords about unevaluated parts of `schema` applied last: they see what the other parts
   * describe. In the other parts they have the effect of `additionalProperties`, which excludes at least as much.
   */
  mergedInto(schema: SchemaObject, parts: readonly unknown[], keyword: string, path: string): SchemaObject | false {
    const { unevaluatedProperties, unevaluatedItems, ...rest } = schema
    const merged = this.merged([rest, ...parts], keyword, path)
    if (!merged) return false
    if (unevaluatedProperties !== undefined && merged.additionalProperties === undefined)
      merged.unevaluatedProperties = unevaluatedProperties
    if (unevaluatedItems !== undefined && merged.additionalItems === undefined && !isSchema(merged.items))
      merged.unevaluatedItems = unevaluatedItems
    return merged
  }

  /** The names in `required`. */
  required(required: unknown, path: string): string[] {
    if (required === undefined) return []
    if (Array.isArray(required) && required.every((name) => typeof name === 'string')) return required
    this.unenforced('required', path, 'it must be a list of names')
    return Array.isArray(required) ? required.filter((name) => typeof name === 'string') : []
  }

  isValue(value: unknown, schema: unknown, path: string): boolean {
    try {
      return isValue(value, schema, this.#reader)
    } catch (error) {
      if (!(error instanceof PatternRefused)) throw error
      this.unenforced('pattern', path, error.message)
      return true
    }
  }

  /** Throws PatternRefused if the expression cannot be read. */
  pattern(source: string): Term {
    const term = this.#patterns.get(source) ?? patternTerm(source, this.terms)
    this.#patterns.set(source, term)
    return term
  }

  /** The rule for a JSON text. */
  literal(text: string, path: string): string {
    return this.rule(quoted(text), path)
  }

  /** The JSON text of a value of the schema. */
  dumped(value: unknown, path: string): string {
    const text = dumps(value)
    this.budget.spend('grammarBytes', text.length, path)
    return text
  }

  /** `min` to `max` of the item, which is the name of a rule. */
  times(item: string, min: number, max: number, path: string): string {
    return repetition(item, min, max, {
      rule: (text) => this.rule(text, path),
      spend: (repeats) => this.budget.spend('grammarRepeats', repeats, path),
      path,
    })
  }

  /** `min` to `max` items, separated by commas. */
  list(item: string, min: number, max: number, path: string): string {
    if (max < 1) return ''
    const next =
      max === 1 ? '' : ` ${this.times(this.rule(`"," ws ${item}`, path), Math.max(0, min - 1), max - 1, path)}`
    // A separate rule: the library's reader refuses a "?" after parentheses with many repetitions inside.
    return min > 0 ? `${item}${next} ws` : this.rule(`| ${item}${next} ws`, path)
  }

  /** The name of the rule with this text; equal texts share one rule. */
  rule(text: string, path: string): string {
    const known = this.named.get(text)
    if (known !== undefined) return known
    const rule = this.newName()
    this.named.set(text, rule)
    this.define(rule, text, path)
    return rule
  }

  newName(): string {
    return `${this.#name}-${this.#names++}`
  }

  define(rule: string, text: string, path: string): void {
    this.budget.spend('grammarBytes', rule.length + text.length + 6, path)
    this.#rules.set(rule, text)
  }
}
