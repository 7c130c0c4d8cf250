/** `enum` and `const`, as prefix trees of their JSON texts. */
import { NothingMatches } from './compile-budget.ts'
import { type Form, formOf, kind } from './form.ts'
import { literals } from './literals.ts'
import type { SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'

/** The values of `enum` and `const` that match all other keywords. */
export function constantsForm(writer: SchemaWriter, schema: SchemaObject, path: string): Form {
  const listed = Array.isArray(schema.enum) ? (schema.enum as unknown[]) : [schema.const]
  writer.budget.spend('schemaAlternatives', listed.length, path)
  // Few schemas have keywords that the loop must check besides the list itself.
  const { enum: _, ...rest } = schema
  const values = listed.filter((value) => writer.isValue(value, rest, path))
  if (values.length === 0) throw new NothingMatches('enum', path, 'no value matches the other keywords')
  return literalsForm(writer, values, path)
}

/** Constants of any type, as one prefix tree of their texts. */
function literalsForm(writer: SchemaWriter, values: readonly unknown[], path: string): Form {
  const texts = values.map((value) => writer.dumped(value, path))
  const kinds = values.reduce<number>((all, value) => all | kindOf(value), 0)
  return treeForm(writer, texts, kinds, path)
}

export function treeForm(writer: SchemaWriter, texts: readonly string[], kinds: number, path: string): Form {
  const tree = literals(texts, (text) => writer.rule(text, path))
  return { ...formOf(tree.text, kinds, tree.stacks, tree.starts), literals: texts }
}

function kindOf(value: unknown): number {
  if (value === null) return kind.null
  if (Array.isArray(value)) return kind.array
  if (typeof value === 'object') return kind.object
  if (typeof value === 'string') return kind.string
  return typeof value === 'boolean' ? kind.boolean : kind.number
}
