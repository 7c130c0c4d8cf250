/** Arrays whose items depend on each other: `contains` and `uniqueItems`. */
import { NothingMatches } from './compile-budget.ts'
import { countedSequence, countedStates } from './counted-sequence.ts'
import { type Form, formOf, kind } from './form.ts'
import { has } from './keywords.ts'
import type { SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'
import { isDisjoint } from './unions.ts'

export interface ArrayParts {
  prefix: readonly unknown[]
  /** The schema of the items after the prefix; undefined for any item. */
  rest: unknown
  /** The path of `rest`. */
  at: string
  min: number
  max: number
}

/** The number of states of an array with `contains`, and of a set of constants in any order. */
const statesMax = 2_000
const setMax = 5

/** An array with at least, or at most, a number of items that match `contains`; undefined without such a keyword. */
export function containingForm(
  writer: SchemaWriter,
  array: ArrayParts,
  groups: readonly SchemaObject[],
  path: string,
  depth: number,
): Form | undefined {
  const [group, ...others] = groups.filter(
    ({ minContains, maxContains }) => minContains !== 0 || maxContains !== undefined,
  )
  if (!group) return undefined
  if (others.length > 0) writer.unenforced('contains', path, 'two of its values apply to one array. Use one of them')
  const [low, high] = [group.minContains ?? 1, group.maxContains ?? Number.POSITIVE_INFINITY]
  // The first item differs from the others: no comma is before it.
  const last = Math.max(1, array.prefix.length, array.min, Number.isFinite(array.max) ? array.max : 0)
  const isBounded = typeof low === 'number' && typeof high === 'number' && low >= 0 && Number.isInteger(low)
  const found = isBounded ? (Number.isFinite(high) ? Math.floor(high) : low) : 0
  if (!isBounded || (last + 1) * (found + 1) > statesMax) {
    writer.unenforced('contains', path, 'its bounds need too many states. Use smaller bounds')
    return undefined
  }
  return new Containing(writer, array, { contains: group.contains, low, high, last, found }, path, depth).form()
}

interface Contained {
  contains: unknown
  low: number
  high: number
  /** Positions and counts above these are equal. */
  last: number
  found: number
}

class Containing {
  readonly #writer: SchemaWriter
  readonly #array: ArrayParts
  readonly #contained: Contained
  readonly #path: string
  readonly #depth: number
  readonly #rules = new Map<string, string | undefined>()
  readonly #items = new Map<string, Form | NothingMatches>()

  constructor(writer: SchemaWriter, array: ArrayParts, contained: Contained, path: string, depth: number) {
    this.#writer = writer
    this.#array = array
    this.#contained = contained
    this.#path = path
    this.#depth = depth
  }

  form(): Form {
    const { low, high, found } = this.#contained
    if (low > high) throw new NothingMatches('contains', this.#path, 'minContains is more than maxContains')
    const text = this.#after(0, 0)
    if (text === undefined) throw new NothingMatches('contains', this.#path, 'no array has so many such items')
    const forms = [...this.#items.values()].filter((each): each is Form => !(each instanceof NothingMatches))
    const most = Math.max(0, ...forms.map((each) => this.#writer.recursion.stacksOf(each)))
    const stacks = 2 * (found + 1) * most + 8
    this.#writer.budget.hold('grammarStacks', stacks, this.#path)
    return { ...formOf(`"[" ws ${text} "]"`, kind.array, stacks), open: this.#writer.recursion.openOf(forms) }
  }

  /** What may follow `index` items of which `count` match. Undefined if nothing leads to an end. */
  #after(index: number, count: number): string | undefined {
    const key = `${index} ${count}`
    if (this.#rules.has(key)) return this.#rules.get(key)
    const { min, max } = this.#array
    const { low, high, last, found } = this.#contained
    const name = this.#writer.newName()
    this.#rules.set(key, name)
    const [nextIndex, nextCount] = [Math.min(last, index + 1), Math.min(found, count + 1)]
    const steps = [
      ...(count >= low && index >= min ? ['ws'] : []),
      ...(index < max && count < high ? this.#step(index, true, nextIndex, nextCount) : []),
      ...(index < max ? this.#step(index, false, nextIndex, count) : []),
    ]
    // Without its own loop a state that only leads to itself has no end.
    const ends = steps.filter((step) => !step.endsWith(` ${name}`))
    if (ends.length === 0) {
      this.#rules.set(key, undefined)
      return undefined
    }
    this.#writer.define(name, steps.join(' | '), this.#path)
    return name
  }

  #step(index: number, matching: boolean, nextIndex: number, nextCount: number): string[] {
    const item = this.#item(index, matching)
    if (item instanceof NothingMatches) return []
    const rest = this.#after(nextIndex, nextCount)
    return rest === undefined ? [] : [`${index > 0 ? '"," ws ' : ''}${item.text} ${rest}`]
  }

  /** An item that matches `contains`, or one that does not. If any number may match, the other items are any. */
  #item(index: number, matching: boolean): Form | NothingMatches {
    const { prefix, rest, at } = this.#array
    const { contains, high } = this.#contained
    const position = Math.min(index, prefix.length)
    const key = `${position} ${matching}`
    const known = this.#items.get(key)
    if (known) return known
    const own = position < prefix.length ? prefix[position] : (rest ?? true)
    const other = Number.isFinite(high) ? { allOf: [own], not: [contains] } : own
    const schema = matching ? { allOf: [own, contains] } : other
    const form = this.#writer.attempt(() => this.#writer.part(schema, at, this.#depth))
    this.#items.set(key, form)
    return form
  }
}

/** An array without equal items; undefined if a form of its items alone ensures that, or nothing can. */
export function distinctItems(
  writer: SchemaWriter,
  array: ArrayParts,
  schema: SchemaObject,
  path: string,
  depth: number,
): Form | undefined {
  const { prefix, rest, at, min, max } = array
  if (prefix.length > 0 && (rest === false || max <= prefix.length)) {
    const forms = prefix.map((item, index) =>
      writer.attempt(() => writer.part(item, `${path}/prefixItems/${index}`, depth)),
    )
    const apart = forms.every((form, index) =>
      forms
        .slice(index + 1)
        .every((other) => form instanceof NothingMatches || other instanceof NothingMatches || isDisjoint(form, other)),
    )
    if (apart) return undefined
  }
  const item =
    prefix.length > 0 || has(schema, 'contains') ? undefined : writer.attempt(() => writer.part(rest, at, depth))
  if (item instanceof NothingMatches) return undefined
  const texts = [...new Set(item && textsOf(item))]
  if (texts.length === 0 || countedStates(texts.length, [min, Math.min(max, texts.length)]) > statesMax) {
    const reason =
      'items that are not listed cannot be compared. List them with "enum", or remove duplicates afterwards'
    writer.unenforced('uniqueItems', path, reason)
    return undefined
  }
  const rules = texts.map((text) => writer.literal(text, path))
  const bounds: [number, number] = [min, Math.min(max, texts.length)]
  const body = texts.length <= setMax ? anyOrder(writer, rules, bounds, path) : inOrder(writer, rules, bounds, path)
  if (body === undefined) throw new NothingMatches('minItems', path, 'it is more than the number of different items')
  return formOf(`"[" ws ${body === '' ? '' : `${body} `}ws "]"`, kind.array, Math.max(8, texts.length + 4))
}

/** The only texts of a form; an empty list if there are others. */
function textsOf(form: Form): readonly string[] {
  if (form.literals) return form.literals
  if (form.kinds === kind.boolean) return ['true', 'false']
  if (form.kinds === kind.null) return ['null']
  if (!form.parts) return []
  const parts = form.parts.map(textsOf)
  return parts.some((texts) => texts.length === 0) ? [] : parts.flat()
}

/** Many constants are written in the order of the schema: any order would need a state for each subset. */
function inOrder(writer: SchemaWriter, texts: readonly string[], bounds: [number, number], path: string) {
  return countedSequence(
    writer,
    texts.map((text) => ({ wanted: false, text })),
    undefined,
    bounds,
    path,
  )
}

function anyOrder(
  writer: SchemaWriter,
  texts: readonly string[],
  [min, max]: [number, number],
  path: string,
): string | undefined {
  /** What may follow the items of the set `used`. */
  function after(used: number, count: number): string | undefined {
    const steps = texts.flatMap((text, index) => {
      const rest = used & (1 << index) || count >= max ? undefined : after(used | (1 << index), count + 1)
      return rest === undefined ? [] : [`${count > 0 ? '"," ws ' : ''}${text}${rest === '' ? '' : ` ${rest}`}`]
    })
    if (count < min && steps.length === 0) return undefined
    if (steps.length === 0) return ''
    return writer.rule(count < min ? steps.join(' | ') : `| ${steps.join(' | ')}`, path)
  }
  return after(0, 0)
}
