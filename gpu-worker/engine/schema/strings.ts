/** Strings: all their keywords are one automaton. */
import { automatonOf, type Machine, termMachine, writeAutomaton } from './automaton.ts'
import { type CharSet, chars, contains, every, inverse, union } from './char-set.ts'
import { NothingMatches } from './compile-budget.ts'
import { countsOf } from './counts.ts'
import { type Form, formOf, kind } from './form.ts'
import { has } from './keywords.ts'
import { quoted } from './literals.ts'
import { PatternRefused } from './pattern.ts'
import { isSchema, type SchemaObject, same } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'
import { formatPattern } from './string-format.ts'
import type { Term } from './string-term.ts'

export function stringForm(writer: SchemaWriter, schema: SchemaObject, path: string): Form {
  const [min, max] = countsOf(writer, schema, 'minLength', 'maxLength', path)
  const others = stringTerm(writer, { ...schema, minLength: undefined, maxLength: undefined }, path)
  if (others !== writer.terms.all) {
    const sized = writer.terms.and([others, writer.terms.repeat(writer.terms.any, min, max)])
    return textForm(writer, sized, has(schema, 'pattern') ? 'pattern' : 'format', path)
  }
  if (min === 0 && max === Number.POSITIVE_INFINITY) return formOf('string', kind.string, 4)
  // One rule for each pair of bounds: a schema often repeats them.
  const text =
    writer.named.get(`string ${min} ${max}`) ?? writer.rule(`"\\"" ${writer.times('char', min, max, path)} "\\""`, path)
  writer.named.set(`string ${min} ${max}`, text)
  return formOf(text, kind.string, 10)
}

/** All keywords for strings. */
export function stringTerm(writer: SchemaWriter, schema: SchemaObject, path: string): Term {
  const [min, max] = countsOf(writer, schema, 'minLength', 'maxLength', path)
  const parts: Term[] = []
  if (min > 0 || max !== Number.POSITIVE_INFINITY) parts.push(writer.terms.repeat(writer.terms.any, min, max))
  for (const pattern of [schema.pattern].flat()) {
    if (pattern === undefined) continue
    if (typeof pattern === 'string') parts.push(...patternOr(writer, pattern, path))
    else writer.unenforced('pattern', path, 'it must be a string')
  }
  for (const format of [schema.format].flat()) {
    const pattern = formatPattern(format)
    if (pattern !== undefined) parts.push(writer.pattern(pattern))
  }
  const listed = has(schema, 'const') ? [schema.const] : schema.enum
  if (Array.isArray(listed))
    parts.push(writer.terms.or(listed.flatMap((each) => (typeof each === 'string' ? [writer.terms.text(each)] : []))))
  for (const not of has(schema, 'not') ? [schema.not].flat() : []) {
    const isText = isSchema(not) && (not.type === undefined || [not.type].flat().includes('string'))
    if (isText) parts.push(writer.terms.not(stringTerm(writer, not, `${path}/not`)))
  }
  return writer.terms.and(parts)
}

function patternOr(writer: SchemaWriter, pattern: string, path: string): Term[] {
  try {
    return [writer.pattern(pattern)]
  } catch (error) {
    if (!(error instanceof PatternRefused)) throw error
    writer.unenforced('pattern', path, error.message)
    return []
  }
}

/** A JSON string whose text the term matches. */
export function textForm(writer: SchemaWriter, term: Term, keyword: string, path: string): Form {
  if (term === writer.terms.all) return formOf('string', kind.string, 4)
  const { rule, stacks } = automatonRule(writer, `text ${term.id}`, termMachine(term, writer.terms), keyword, path)
  return formOf(writer.rule(`"\\"" ${rule}`, path), kind.string, stacks + 4)
}

export function automatonRule<State>(
  writer: SchemaWriter,
  key: string,
  machine: Machine<State>,
  keyword: string,
  path: string,
) {
  const known = writer.automata.get(key)
  if (known) return known
  const automaton = automatonOf(machine, () => writer.budget.spend('automatonStates', 1, path))
  if (!automaton) throw new NothingMatches(keyword, path, 'no value matches it and the keywords next to it')
  const isText = key.startsWith('text')
  const written = writeAutomaton(automaton, {
    name: () => writer.newName(),
    define: (name, text) => writer.define(name, text, path),
    character: (set) => (isText ? characterOf(writer, set, path) : classOf(set)),
    end: isText ? '"\\""' : '',
  })
  writer.budget.hold('grammarStacks', written.stacks, path)
  writer.automata.set(key, written)
  return written
}

/** One character of a JSON string. Characters that need an escape have one spelling. */
function characterOf(writer: SchemaWriter, set: CharSet, path: string): string {
  if (same(set, every)) return 'char'
  const plain = inverse(union(inverse(set), escaped))
  const texts = plain.length > 0 ? [classOf(plain)] : []
  for (const [code, letter] of escapes) if (contains(set, code)) texts.push(quoted(`\\${letter}`))
  for (const code of controls) if (contains(set, code)) texts.push(quoted(`\\u${code.toString(16).padStart(4, '0')}`))
  const [only = ''] = texts
  return texts.length === 1 ? only : writer.rule(texts.join(' | '), path)
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
