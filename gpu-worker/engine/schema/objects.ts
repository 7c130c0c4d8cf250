/** Objects with named properties, and maps. */
import { NothingMatches, SchemaRefused, shown } from './compile-budget.ts'
import { countedSequence, countedStates } from './counted-sequence.ts'
import { countsOf } from './counts.ts'
import { extras } from './extra-properties.ts'
import { type Form, formOf, kind, type Member } from './form.ts'
import { has } from './keywords.ts'
import { quoted } from './literals.ts'
import { PatternRefused } from './pattern.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'

export function objectForm(writer: SchemaWriter, schema: SchemaObject, path: string, depth: number): Form {
  const { properties } = schema
  const other = schema.additionalProperties ?? schema.unevaluatedProperties
  if (writer.strict && properties !== undefined && !isSchema(properties))
    throw new SchemaRefused('properties', path, 'it must be an object')
  const bounds = countsOf(writer, schema, 'minProperties', 'maxProperties', path)
  const wanted = new Set(writer.required(schema.required, path))
  const declared = isSchema(properties) ? Object.keys(properties) : []
  const names = [...new Set([...declared, ...wanted])]
  if (names.length === 0) return mapForm(writer, schema, other, bounds, path, depth)
  writer.recursion.wrap()
  const members = names.flatMap((key) => memberOf(writer, schema, other, key, wanted.has(key), path, depth))
  const isOpen = isSchema(schema.patternProperties) || (other !== undefined && other !== false)
  const extra = isOpen ? extras(writer, schema, other, names, path, depth) : undefined
  writer.recursion.unwrap()
  const forms = [...members.map(({ form }) => form), ...(extra ? [extra] : [])]
  const stacks = Math.max(longestChoice(members), ...forms.map((form) => writer.recursion.stacksOf(form))) + 4
  writer.budget.hold('grammarStacks', stacks, path)
  const [min, max] = bounds
  const isCounted =
    min > members.filter((member) => member.wanted).length || max < members.length || (extra && max < unlimited)
  const body = isCounted
    ? countedText(writer, members, extra?.text, bounds, path)
    : uncountedText(writer, members, extra?.text, path)
  return {
    ...formOf(body, kind.object, stacks),
    open: writer.recursion.openOf(forms),
    ...(!extra && { members }),
    properties: { members, closed: other === false && !extra },
  }
}

/** An empty list for an optional property that no value matches: it is left out. */
function memberOf(
  writer: SchemaWriter,
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
  const schemas = patterns.flatMap(([pattern, each]) => (matches(writer, pattern, key, path) ? [each] : []))
  if (isSchema(properties) && has(properties, key)) schemas.unshift(properties[key])
  if (schemas.length === 0 && other === false)
    throw new NothingMatches('required', path, `"${shown(key)}" is required but "additionalProperties" forbids it`)
  const value = schemas.length > 1 ? { allOf: schemas } : schemas.length === 1 ? schemas[0] : (other ?? true)
  const named = has(schema, 'propertyNames') ? writer.isValue(key, schema.propertyNames, path) : true
  const form = named
    ? writer.attempt(() => writer.part(value, at, depth))
    : new NothingMatches('required', at, 'it is required, but "propertyNames" forbids it')
  if (form instanceof NothingMatches) {
    if (wanted) throw form
    return []
  }
  const name = quoted(`${writer.dumped(key, path)}:`)
  return [{ key, wanted, form, text: `${name} ws ${form.text}` }]
}

function matches(writer: SchemaWriter, pattern: string, text: string, path: string): boolean {
  try {
    return writer.terms.matches(writer.pattern(pattern), text)
  } catch (error) {
    if (!(error instanceof PatternRefused)) throw error
    writer.unenforced('patternProperties', path, error.message)
    return false
  }
}

function uncountedText(
  writer: SchemaWriter,
  members: readonly NamedMember[],
  extra: string | undefined,
  path: string,
): string {
  const others = extra && writer.rule(`${extra} ${writer.rule(`"," ws ${extra}`, path)}*`, path)
  const texts = [...members, ...(others ? [{ wanted: false, text: others }] : [])]
  return texts.length === 0 ? '"{" ws "}"' : `"{" ws ${membersText(writer, texts, path)} ws "}"`
}

/** Properties in their order, then other ones: from `min` to `max` in all. */
function countedText(
  writer: SchemaWriter,
  members: readonly NamedMember[],
  extra: string | undefined,
  bounds: readonly [number, number],
  path: string,
): string {
  if (countedStates(members.length, bounds) > countedMax)
    writer.unenforced(
      bounds[0] > 0 ? 'minProperties' : 'maxProperties',
      path,
      'it needs too many states. Use fewer properties',
    )
  else {
    const text = countedSequence(writer, members, extra, bounds, path)
    if (text === undefined)
      throw new NothingMatches('minProperties', path, 'there are too few or too many properties for it')
    return text === '' ? '"{" ws "}"' : `"{" ws ${text} ws "}"`
  }
  return uncountedText(writer, members, extra, path)
}

const countedMax = 2_000
const unlimited = Number.POSITIVE_INFINITY

/**
 * Properties in their order, each optional one present or absent. Each place in the list has two texts: one if a
 * property was written before it (comma needed), one if not. A text that is used more than once becomes a rule.
 */
function membersText(
  writer: SchemaWriter,
  members: readonly { wanted: boolean; text: string }[],
  path: string,
): string {
  // After a required property a comma is always needed.
  const firsts = members.findIndex(({ wanted }) => wanted)
  let first = ''
  let later = ''
  for (let index = members.length - 1; index >= 0; index--) {
    const { wanted, text } = members[index] ?? { wanted: true, text: '' }
    const isFirst = firsts < 0 || index <= firsts
    const uses = (index === 0 ? 0 : wanted ? 1 : 2) + (isFirst ? 1 : 0)
    if (uses > 1 && later.length > 20) later = writer.rule(later, path)
    const begun = later === '' ? text : `${text} ${later}`
    if (isFirst) first = writer.rule(wanted ? begun : orElse(begun, first), path)
    if (index > 0) later = wanted ? `"," ws ${begun}` : writer.rule(orElse(`"," ws ${begun}`, later), path)
  }
  return first
}

function mapForm(
  writer: SchemaWriter,
  schema: SchemaObject,
  other: unknown,
  [min, max]: [number, number],
  path: string,
  depth: number,
): Form {
  const plain = !has(schema, 'propertyNames') && !has(schema, 'patternProperties')
  writer.recursion.wrap()
  const member =
    plain && other !== false ? plainMember(writer, other, path, depth) : extras(writer, schema, other, [], path, depth)
  writer.recursion.unwrap()
  if (!member) {
    if (min > 0) throw new NothingMatches('minProperties', path, 'no property is allowed. Use 0')
    return formOf('"{" ws "}"', kind.object, 4)
  }
  const stacks = Math.max(6, writer.recursion.stacksOf(member)) + 6
  return {
    ...formOf(`"{" ws ${writer.list(member.text, min, max, path)} "}"`, kind.object, stacks),
    open: member.open,
  }
}

function plainMember(writer: SchemaWriter, other: unknown, path: string, depth: number): Form | undefined {
  const [form] = writer.possible(() => writer.part(other, `${path}/additionalProperties`, depth))
  return form && { ...form, text: writer.rule(`string ":" ws ${form.text}`, path) }
}

interface NamedMember extends Member {
  text: string
}

/** An empty alternative comes first: after a trailing "|" the library would read on into the next rule. */
export function orElse(text: string, other: string): string {
  return other === '' ? `| ${text}` : `${text} | ${other}`
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
