/** Unions of branches and types, and whether branches can be distinguished. */
import { type ApartReader, areApart } from './apart.ts'
import { NothingMatches, SchemaRefused } from './compile-budget.ts'
import { type Form, formOf, stacksOfBranches } from './form.ts'
import { isConstraint } from './keywords.ts'
import { treeForm } from './listed-values.ts'
import type { SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'

/** Keywords next to the branches apply to every branch. */
export function branchesForm(
  writer: SchemaWriter,
  schema: SchemaObject,
  keyword: 'anyOf' | 'oneOf',
  path: string,
  depth: number,
): Form {
  const { [keyword]: list, ...rest } = schema
  const branches = list as unknown[]
  const shared = Object.keys(rest).some((key) => isConstraint(key))
  writer.budget.spend('schemaAlternatives', branches.length, path)
  if (branches.length === 0) throw new SchemaRefused(keyword, path, 'it has no branch. Add at least one')
  const compiled = branches.map((branch, index) => {
    const compile = (excluded: readonly unknown[]) => {
      const parts = excluded.length > 0 ? [branch, { not: excluded }] : [branch]
      const each = shared || parts.length > 1 ? writer.mergedInto(rest, parts, keyword, path) : branch
      return writer.value(each, `${path}/${keyword}/${index}`, depth + 1)
    }
    return { branch, compile, form: writer.attempt(() => compile([])) }
  })
  const forms = keyword === 'oneOf' ? exclusive(writer, compiled, path) : compiled.map(({ form }) => form)
  return unionForm(writer, writer.some(forms), keyword, path)
}

interface Branch {
  branch: unknown
  compile(excluded: readonly unknown[]): Form
  form: Form | NothingMatches
}

/** The values of each branch that no other branch matches. */
function exclusive(writer: SchemaWriter, branches: readonly Branch[], path: string): (Form | NothingMatches)[] {
  const reader: ApartReader = {
    target: (ref, from) => writer.references.target(ref, path, from),
    isValue: (value, schema) => writer.isValue(value, schema, path),
    matches: (pattern, text) => writer.terms.matches(writer.pattern(pattern), text),
    spend: () => writer.budget.spend('schemaCompared', 1, path),
  }
  const overlapping = branches.map(({ form, branch }, index) =>
    branches.flatMap((other, at) => {
      if (at === index || form instanceof NothingMatches) return []
      return areApart(branch, other.branch, reader) ? [] : [other.branch]
    }),
  )
  const reason =
    'a value may match two of its branches. Use anyOf, or give each branch a required property with its own constant'
  if (overlapping.some((others) => others.length > overlappingMax)) {
    writer.unenforced('oneOf', path, reason)
    return branches.map(({ form }) => form)
  }
  return branches.map(({ compile, form }, index) => {
    const others = overlapping[index] ?? []
    if (others.length === 0) return form
    return writer.attempt(() => compile(others))
  })
}

/** More overlapping branches would multiply too often when each excludes the others. */
const overlappingMax = 8

export function unionForm(writer: SchemaWriter, forms: readonly Form[], keyword: string, path: string): Form {
  const distinct = unique(forms)
  const [only] = distinct
  if (only && distinct.length === 1) return only
  const constants = distinct.flatMap((form) => form.literals ?? [])
  const others = distinct.filter((form) => !form.literals)
  const kinds = distinct.reduce((all, form) => all | (form.literals ? form.kinds : 0), 0)
  const tree = constants.length > 0 ? [treeForm(writer, constants, kinds, path)] : []
  const alternatives = [...others, ...tree]
  if (alternatives.length === 1 && alternatives[0]) return alternatives[0]
  const starts = alternatives.reduce((sum, form) => sum + form.starts, 0)
  writer.budget.hold('grammarStacks', starts, path)
  const parts = unique(alternatives.flatMap((form) => form.parts ?? [form]))
  writer.budget.spend('schemaCompared', parts.length, path)
  const branches = stacksOfBranches(parts, writer.recursion, (compared) =>
    writer.budget.spend('schemaCompared', compared, path),
  )
  if (branches === undefined) {
    const reason =
      'its branches cannot be distinguished before they repeat themselves. Give each a first required property with a constant of its own'
    throw new SchemaRefused(keyword, path, reason)
  }
  const stacks = Math.max(starts, branches)
  writer.budget.hold('grammarStacks', stacks, path)
  return {
    ...formOf(
      `(${alternatives.map(({ text }) => text).join(' | ')})`,
      parts.reduce((all, form) => all | form.kinds, 0),
      stacks,
      starts,
    ),
    open: writer.recursion.openOf(parts),
    parts,
  }
}

/** Whether no value can match both schemas. */
export function isDisjoint(a: Form, b: Form): boolean {
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

/** The library stores equal alternatives once. */
function unique(forms: readonly Form[]): Form[] {
  return [...new Map(forms.map((form) => [form.text, form])).values()]
}
