/** Unions of branches and types, and whether branches can be distinguished. */
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
  const { [keyword]: branches, ...rest } = schema
  const shared = Object.keys(rest).some((key) => isConstraint(key))
  writer.budget.spend('schemaAlternatives', (branches as unknown[]).length, path)
  const alternatives = (branches as unknown[]).flatMap((branch, index) =>
    writer.possible(() => {
      const each = shared ? writer.merged([rest, branch], keyword, path) : branch
      return writer.value(each, `${path}/${keyword}/${index}`, depth + 1)
    }),
  )
  if ((branches as unknown[]).length === 0) throw new SchemaRefused(keyword, path, 'it has no branch. Add at least one')
  if (alternatives.length === 0) throw new NothingMatches(keyword, path, 'nothing can match any of its branches')
  if (keyword === 'oneOf') checkDisjoint(writer, alternatives, path)
  return unionForm(writer, alternatives, keyword, path)
}

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

function checkDisjoint(writer: SchemaWriter, forms: readonly Form[], path: string): void {
  for (const [index, form] of forms.entries())
    for (const other of forms.slice(index + 1)) {
      writer.budget.spend('schemaCompared', 1, path)
      if (isDisjoint(form, other)) continue
      const reason =
        'a value may match two of its branches. Use anyOf, or give each branch a required property with its own constant'
      writer.unenforced('oneOf', path, reason)
      return
    }
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

/** The library stores equal alternatives once. */
function unique(forms: readonly Form[]): Form[] {
  return [...new Map(forms.map((form) => [form.text, form])).values()]
}
