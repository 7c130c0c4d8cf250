/** Properties of an object that are not named: `patternProperties`, `propertyNames`, `additionalProperties`. */
import { NothingMatches } from './compile-budget.ts'
import { type Form, formOf, kind } from './form.ts'
import { has } from './keywords.ts'
import { PatternRefused } from './pattern.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'
import type { Term } from './string-term.ts'
import { stringTerm, textForm } from './strings.ts'

/** One property that is not named; undefined if there is none. */
export function extras(
  writer: SchemaWriter,
  schema: SchemaObject,
  other: unknown,
  names: readonly string[],
  path: string,
  depth: number,
): Form | undefined {
  const terms = writer.terms
  const patterns = Object.entries(isSchema(schema.patternProperties) ? schema.patternProperties : {}).flatMap(
    ([pattern, each]) => keyPattern(writer, pattern, path).map((term) => ({ pattern, term, each })),
  )
  if (patterns.length > patternsMax) {
    const reason = `it has more than ${patternsMax} patterns. Use fewer patterns`
    writer.unenforced('patternProperties', path, reason)
    patterns.length = 0
  }
  const unnamed = names.length === 0 ? [] : [terms.not(terms.or(names.map((name) => terms.text(name))))]
  const allowed = has(schema, 'propertyNames') ? [keyTerm(writer, schema.propertyNames, path)] : []
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
    forms.push(...writer.possible(() => extra(writer, key, value, at, depth)))
  }
  if (forms.length === 0) return undefined
  const stacks = forms.reduce((sum, form) => sum + writer.recursion.stacksOf(form), 0)
  const text =
    forms.length === 1 ? (forms[0]?.text ?? '') : writer.rule(forms.map((form) => form.text).join(' | '), path)
  return { ...formOf(text, kind.object, stacks), open: writer.recursion.openOf(forms) }
}

function extra(writer: SchemaWriter, key: Term, value: unknown, path: string, depth: number): Form {
  if (value === false) throw new NothingMatches('false', path, 'no other property is allowed')
  const name = textForm(writer, key, 'propertyNames', path)
  const form = writer.part(value, path, depth)
  const stacks = writer.recursion.stacksOf(form) + name.stacks
  return { ...form, text: writer.rule(`${name.text} ":" ws ${form.text}`, path), stacks }
}

function keyPattern(writer: SchemaWriter, pattern: string, path: string): Term[] {
  try {
    return [writer.pattern(pattern)]
  } catch (error) {
    if (!(error instanceof PatternRefused)) throw error
    writer.unenforced('patternProperties', path, error.message)
    return []
  }
}

/** The names that `propertyNames` allows. */
function keyTerm(writer: SchemaWriter, schema: unknown, path: string): Term {
  if (schema === true || schema === undefined) return writer.terms.all
  const merged = schema === false ? false : writer.merged([schema], 'propertyNames', path)
  if (!merged) return writer.terms.none
  const { anyOf, oneOf, type } = merged
  if (anyOf !== undefined || oneOf !== undefined || has(merged, 'if'))
    writer.unenforced('propertyNames', path, 'its branches are not supported. Use one pattern')
  if (type !== undefined && ![type].flat().includes('string')) return writer.terms.none
  return stringTerm(writer, merged, `${path}/propertyNames`)
}

/** Each combination of matching patterns has its own names and values. */
const patternsMax = 4
