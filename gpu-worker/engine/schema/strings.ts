/** Strings: all their keywords are one automaton. */
import { type Automaton, automatonOf, type Machine, termMachine, writeAutomaton } from './automaton.ts'
import { type CharSet, chars, contains, every, inverse, union } from './char-set.ts'
import { NothingMatches, shown } from './compile-budget.ts'
import { countsOf } from './counts.ts'
import { type Form, formOf, kind } from './form.ts'
import { has } from './keywords.ts'
import { quoted } from './literals.ts'
import { PatternRefused } from './pattern.ts'
import { isSchema, type SchemaObject, same } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'
import { formatPattern, writtenFormat } from './string-format.ts'
import type { Term } from './string-term.ts'

export function stringForm(writer: SchemaWriter, schema: SchemaObject, path: string): Form {
  const [min, max] = countsOf(writer, schema, 'minLength', 'maxLength', path)
  const isSized = min > 0 || max !== Number.POSITIVE_INFINITY
  const others = stringTerm(writer, { ...schema, minLength: undefined, maxLength: undefined }, path, isSized)
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
/** @param exact whether the term must match all texts of the schema: if it will be negated */
export function stringTerm(writer: SchemaWriter, schema: SchemaObject, path: string, exact = false): Term {
  const [min, max] = countsOf(writer, schema, 'minLength', 'maxLength', path)
  const parts: Term[] = []
  if (min > 0 || max !== Number.POSITIVE_INFINITY) parts.push(writer.terms.repeat(writer.terms.any, min, max))
  for (const pattern of [schema.pattern].flat()) {
    if (pattern === undefined) continue
    if (typeof pattern === 'string') parts.push(...patternOr(writer, pattern, path))
    else writer.unenforced('pattern', path, 'it must be a string')
  }
  // Next to other keywords the shorter expression of a format has more states than the whole one.
  const alone = !exact && schema.pattern === undefined && !has(schema, 'not')
  for (const format of [schema.format].flat()) {
    const pattern = alone ? writtenFormat(format) : formatPattern(format)
    if (pattern !== undefined) parts.push(writer.pattern(pattern))
  }
  const listed = has(schema, 'const') ? [schema.const] : schema.enum
  if (Array.isArray(listed))
    parts.push(writer.terms.or(listed.flatMap((each) => (typeof each === 'string' ? [writer.terms.text(each)] : []))))
  for (const not of has(schema, 'not') ? [schema.not].flat() : []) {
    const isText = isSchema(not) && (not.type === undefined || [not.type].flat().includes('string'))
    if (isText) parts.push(writer.terms.not(stringTerm(writer, not, `${path}/not`, true)))
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
  const key = `text ${term.id}`
  const { rule, stacks } = writer.automata.get(key) ?? writtenText(writer, key, term, keyword, path)
  return formOf(writer.rule(`"\\"" ${rule}`, path), kind.string, stacks + 4)
}

/** If the automaton of all texts is too large, only short texts are written. */
function writtenText(writer: SchemaWriter, key: string, term: Term, keyword: string, path: string) {
  const whole = writer.budget.attempt(1 / 2, () => ({
    automaton: automatonOf(termMachine(term, writer.terms), spendState(writer, path)),
  }))
  if (whole && !whole.automaton) throw new NothingMatches(keyword, path, unmatched)
  if (whole?.automaton) return writtenRule(writer, key, whole.automaton, path)
  for (const length of shortLengths) {
    const { terms } = writer
    const short = writer.budget.attempt(2 / 3, () => {
      const simple = terms.unboundedAbove(term, length)
      return automatonOf(
        termMachine(terms.and([simple, terms.repeat(terms.any, 0, length)]), terms),
        spendState(writer, path),
      )
    })
    if (!short) continue
    const reason = `only texts of at most ${length} characters are written, because longer ones take too many steps`
    writer.warn(`"${keyword}" at ${shown(path)}: ${reason}`)
    return writtenRule(writer, key, short, path)
  }
  return automatonRule(writer, key, termMachine(term, writer.terms), keyword, path)
}

const shortLengths = [60, 24]

function spendState(writer: SchemaWriter, path: string): () => void {
  return () => writer.budget.spend('automatonStates', 1, path)
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
  const automaton = automatonOf(machine, spendState(writer, path))
  if (!automaton) throw new NothingMatches(keyword, path, unmatched)
  return writtenRule(writer, key, automaton, path)
}

const unmatched = 'no value matches it and the keywords next to it'

function writtenRule(writer: SchemaWriter, key: string, automaton: Automaton, path: string) {
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
