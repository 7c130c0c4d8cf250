/** Arrays and tuples: `items`, `prefixItems` and their bounds. */
import { type ArrayParts, containingForm, distinctItems } from './array-contents.ts'
import { NothingMatches } from './compile-budget.ts'
import { countsOf } from './counts.ts'
import { type Form, formOf, kind } from './form.ts'
import { orElse } from './objects.ts'
import { groupsOf, itemsOf, type SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'

export function arrayForm(writer: SchemaWriter, schema: SchemaObject, path: string, depth: number): Form {
  const [min, max] = countsOf(writer, schema, 'minItems', 'maxItems', path)
  writer.recursion.wrap()
  const { prefix, rest, restKeyword } = itemsOf(schema)
  const array: ArrayParts = { prefix, rest, at: `${path}/${restKeyword}`, min, max }
  const unique = schema.uniqueItems === true && max > 1 ? distinctItems(writer, array, schema, path, depth) : undefined
  const contained = unique ?? containingForm(writer, array, groupsOf(schema, 'contains'), path, depth)
  const form =
    contained ??
    (prefix.length > 0
      ? tupleForm(writer, prefix, [rest, array.at], [min, max], path, depth)
      : itemsForm(writer, [rest, array.at], [min, max], path, depth))
  writer.recursion.unwrap()
  return form
}

function itemsForm(
  writer: SchemaWriter,
  [items, at]: [unknown, string],
  [min, max]: [number, number],
  path: string,
  depth: number,
): Form {
  const [item] = max === 0 ? [] : writer.possible(() => writer.part(items, at, depth))
  if (!item) {
    if (min > 0) throw new NothingMatches('minItems', path, 'no item is allowed. Use 0')
    return formOf('"[" ws "]"', kind.array, 4)
  }
  const stacks = writer.recursion.stacksOf(item) + 8
  return { ...formOf(`"[" ws ${writer.list(item.text, min, max, path)} "]"`, kind.array, stacks), open: item.open }
}

/** The listed items, and then the items of `rest`. Fewer than the listed ones are written only if `maxItems` says. */
function tupleForm(
  writer: SchemaWriter,
  prefix: readonly unknown[],
  [rest, at]: [unknown, string],
  [min, max]: [number, number],
  path: string,
  depth: number,
): Form {
  const listed = prefix.slice(0, Math.min(max, prefix.length))
  const items = listed.flatMap((item, index) => {
    const [form] = writer.possible(() => writer.part(item, `${path}/prefixItems/${index}`, depth))
    if (!form && index < min) throw new NothingMatches('prefixItems', path, 'an item is needed that nothing matches')
    return [form]
  })
  const end = items.indexOf(undefined)
  const forms = (end < 0 ? items : items.slice(0, end)) as Form[]
  const open = end < 0 && max > prefix.length && rest !== false && (rest !== undefined || min > prefix.length)
  const [more] = open ? writer.possible(() => writer.part(rest, at, depth)) : []
  if (!more && min > forms.length) throw new NothingMatches('minItems', path, 'it is more than the items allowed')
  const all = more ? [...forms, more] : forms
  const stacks = Math.max(0, ...all.map((item) => writer.recursion.stacksOf(item))) + 8
  const tail = more
    ? writer.times(writer.rule(`"," ws ${more.text}`, path), Math.max(0, min - forms.length), max - forms.length, path)
    : ''
  const body = prefixText(writer, forms, Math.min(min, forms.length), tail, path)
  return { ...formOf(`"[" ws ${body} ws "]"`, kind.array, stacks), open: writer.recursion.openOf(all) }
}

/** At least `min` of the items in their order, and after the last one `tail`. */
function prefixText(writer: SchemaWriter, forms: readonly Form[], min: number, tail: string, path: string): string {
  let text = tail
  for (let index = forms.length - 1; index >= 0; index--) {
    const item = `${index === 0 ? '' : '"," ws '}${forms[index]?.text ?? ''}${text === '' ? '' : ` ${text}`}`
    text = index < min ? item : writer.rule(orElse(item, ''), path)
  }
  return text
}
