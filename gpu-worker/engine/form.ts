/**
 * What is known of a compiled part besides its text: with which characters it may begin, and how many ways of reading
 * it the library can have open at once.
 *
 * A union opens one way per branch, and a way is closed by the first character that its branch does not have. Two
 * branches that stay open while the schema repeats itself would double the open ways on each level: such a union is
 * found here, and refused by the compiler. All else is bounded by a sum that does not grow with the answer.
 */

/** First characters, as bits. */
export const kind = { object: 1, array: 2, string: 4, number: 8, boolean: 16, null: 32 } as const
const everyKind = 63
const scalars = [kind.string, kind.number, kind.boolean, kind.null]

export interface Form {
  /** An expression of the grammar. */
  text: string
  kinds: number
  /** Ways open at its first character, and at any time. */
  starts: number
  stacks: number
  /** The outermost schema still being compiled that this part refers back to, by its number; 0 for none. */
  open: number
  /** Of an object with named properties, in their order. */
  members?: readonly Member[]
  /** Of a union: its branches, none of them a union. */
  parts?: readonly Form[]
  /** Of constants: their JSON texts. */
  literals?: readonly string[]
}

export interface Member {
  key: string
  wanted: boolean
  form: Form
}

export function formOf(text: string, kinds: number, stacks: number, starts = 1): Form {
  return { text, kinds, starts, stacks, open: 0 }
}

/** Any JSON value: the rule `value` and all below it. */
export const anyValue: Form = formOf('value', everyKind, 14, 10)

/** Keeps account of references while they are compiled. */
export class Recursion {
  #ids = 0
  #depth = 0
  /** Those in progress, with the number of objects and arrays around each. */
  readonly #running = new Map<string, { id: number; depth: number }>()
  /** By number, once complete: what it refers back to, and its open ways. */
  readonly #complete = new Map<number, { open: number; stacks: number }>()

  enter(ref: string): number {
    const id = ++this.#ids
    this.#running.set(ref, { id, depth: this.#depth })
    return id
  }

  /** The reference is compiled; returns what it refers back to, other than itself. */
  leave(ref: string, { open, stacks }: Form): number {
    const id = this.#running.get(ref)?.id ?? 0
    this.#running.delete(ref)
    const left = open === id ? 0 : open
    this.#complete.set(id, { open: left, stacks })
    return left
  }

  /** Whether the reference is in progress with no object or array around it since: it would stand for itself alone. */
  isBare(ref: string): boolean {
    return this.#running.get(ref)?.depth === this.#depth
  }

  wrap(): void {
    this.#depth++
  }

  unwrap(): void {
    this.#depth--
  }

  /** What a form refers back to now; 0 where all of that is complete. */
  open({ open }: Form): number {
    let id = open
    for (let known = this.#complete.get(id); known; known = this.#complete.get(id)) id = known.open
    return id
  }

  /** The outermost schema in progress that one of them refers back to. */
  openOf(forms: readonly Form[]): number {
    return forms
      .map((form) => this.open(form))
      .reduce((least, id) => (id === 0 || (least !== 0 && least < id) ? least : id), 0)
  }

  /** With the open ways of what it refers back to, as far as that is complete. */
  stacksOf({ open, stacks }: Form): number {
    let most = stacks
    for (let known = this.#complete.get(open); known; known = this.#complete.get(known.open))
      most = Math.max(most, known.stacks)
    return most
  }
}

/** Ways open at once in a union of these, none of them a union; undefined where that would grow with the answer. */
export function stacksOfBranches(
  branches: readonly Form[],
  recursion: Recursion,
  spend: (compared: number) => void,
): number | undefined {
  const sum = (forms: readonly Form[]) => forms.reduce((total, form) => total + recursion.stacksOf(form), 0)
  const repeats = (forms: readonly Form[]) => forms.filter((form) => recursion.open(form) !== 0).length > 1
  const of = (bit: number) => branches.filter(({ kinds }) => kinds & bit)

  /** They stay open side by side for any input. */
  function unresolved(forms: readonly Form[]): number | undefined {
    return forms.length > 1 && repeats(forms) ? undefined : sum(forms)
  }

  /** Objects that agree in all before their member number `index`. */
  function objects(forms: readonly Form[], index: number): number | undefined {
    spend(forms.length)
    const [only] = forms
    if (!only) return 0
    if (forms.length === 1) return recursion.stacksOf(only)
    const named = forms.filter((form) => form.members && index < form.members.length)
    if (forms.some(({ members }) => !members) || named.some(({ members }) => !members?.[index]?.wanted))
      return unresolved(forms)
    let most = 0
    for (const alike of groups(named, ({ members }) => members?.[index]?.key ?? '')) {
      const stacks = alike.length === 1 ? objects(alike, index) : members(alike, index)
      if (stacks === undefined) return undefined
      most = Math.max(most, stacks)
    }
    return forms.length + most
  }

  /** Objects whose member number `index` has the same key: distinguished by its value, or not. */
  function members(forms: readonly Form[], index: number): number | undefined {
    const values = forms.map((form) => form.members?.[index]?.form ?? anyValue)
    let during = 0
    let after = 0
    for (const alike of overlapping(values, spend)) {
      if (alike.length > 1 && repeats(alike.map((at) => values[at] ?? anyValue))) return undefined
      during += sum(alike.map((at) => values[at] ?? anyValue))
      const rest = objects(
        alike.map((at) => forms[at] ?? anyValue),
        index + 1,
      )
      if (rest === undefined) return undefined
      after = Math.max(after, rest)
    }
    return Math.max(during, after)
  }

  const counts = [objects(of(kind.object), 0), unresolved(of(kind.array)), ...scalars.map((bit) => sum(of(bit)))]
  let most = 0
  for (const count of counts) {
    if (count === undefined) return undefined
    most = Math.max(most, count)
  }
  return most
}

/** Indexes of forms in groups of which no two can begin to read the same text. Constants are compared whole. */
function overlapping(forms: readonly Form[], spend: (compared: number) => void): number[][] {
  const parent = forms.map((_, index) => index)
  const find = (index: number): number => {
    let at = index
    while (parent[at] !== undefined && parent[at] !== at) at = parent[at] ?? at
    return at
  }
  const first = new Map<string, number>()
  const join = (name: string, index: number) => {
    const other = first.get(name)
    if (other === undefined) first.set(name, index)
    else parent[find(index)] = find(other)
  }
  forms.forEach((form, index) => {
    spend(1 + (form.literals?.length ?? 0))
    for (const literal of form.literals ?? []) join(`=${literal}`, index)
    if (!form.literals) for (let bit = 1; bit <= everyKind; bit *= 2) if (form.kinds & bit) join(`${bit}`, index)
  })
  // A constant meets every form that is no constant and may begin as it does.
  forms.forEach((form, index) => {
    if (!form.literals) return
    for (let bit = 1; bit <= everyKind; bit *= 2) {
      const other = form.kinds & bit ? first.get(`${bit}`) : undefined
      if (other !== undefined) parent[find(index)] = find(other)
    }
  })
  return groups(
    forms.map((_, index) => index),
    (index) => String(find(index)),
  )
}

function groups<Item>(items: readonly Item[], keyOf: (item: Item) => string): Item[][] {
  const found = new Map<string, Item[]>()
  for (const item of items) {
    const key = keyOf(item)
    const group = found.get(key)
    if (group) group.push(item)
    else found.set(key, [item])
  }
  return [...found.values()]
}
