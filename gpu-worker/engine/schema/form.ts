/**
 * Properties of a compiled part besides its text: the characters that may begin it, and the maximum number of parse
 * stacks that the library can have open for it.
 *
 * A union opens one stack per branch; the first character that a branch does not allow closes its stack. Two branches
 * that stay open while the schema recurses would double the stacks on each level: this file detects such a union, and
 * the compiler refuses it. Every other count is bounded by a sum that does not grow with the answer.
 */

/** First characters, as bits. */
export const kind = { object: 1, array: 2, string: 4, number: 8, boolean: 16, null: 32 } as const
const everyKind = 63
const scalars = [kind.string, kind.number, kind.boolean, kind.null]

export interface Form {
  /** A grammar expression. */
  text: string
  kinds: number
  /** Maximum parse stacks at its first character, and at any time. */
  starts: number
  stacks: number
  /** Number of the outermost schema in progress that this part refers back to; 0 for none. */
  open: number
  /** The named properties of an object, in order. */
  members?: readonly Member[]
  /** The properties of an object, to distinguish the branches of `oneOf`. `closed`: the schema allows no others. */
  properties?: { members: readonly Member[]; closed: boolean }
  /** The branches of a union; none of them is a union. */
  parts?: readonly Form[]
  /** The JSON texts of constants. */
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

/** Any JSON value: the rule `value` and the rules that it uses. */
export const anyValue: Form = formOf('value', everyKind, 14, 10)

/** Tracks references while they are compiled. */
export class Recursion {
  #ids = 0
  #depth = 0
  /** References in progress, with the number of objects and arrays around each. */
  readonly #running = new Map<unknown, { id: number; depth: number }>()
  /** Completed references by number: the schema that they refer back to, and their parse stacks. */
  readonly #complete = new Map<number, { open: number; stacks: number }>()

  enter(target: unknown): number {
    const id = ++this.#ids
    this.#running.set(target, { id, depth: this.#depth })
    return id
  }

  /** Completes a reference. Returns the number of the other schema that it refers back to, or 0. */
  leave(target: unknown, { open, stacks }: Form): number {
    const id = this.#running.get(target)?.id ?? 0
    this.#running.delete(target)
    const left = open === id ? 0 : open
    this.#complete.set(id, { open: left, stacks })
    return left
  }

  /** Whether the reference is in progress and no object or array lies between: it would refer only to itself. */
  isBare(target: unknown): boolean {
    return this.#running.get(target)?.depth === this.#depth
  }

  wrap(): void {
    this.#depth++
  }

  unwrap(): void {
    this.#depth--
  }

  /** The schema in progress that a form refers back to; 0 if all of them are complete. */
  open({ open }: Form): number {
    let id = open
    for (let known = this.#complete.get(id); known; known = this.#complete.get(id)) id = known.open
    return id
  }

  /** The outermost schema in progress that any of the forms refers back to. */
  openOf(forms: readonly Form[]): number {
    return forms.map((form) => this.open(form)).reduce((min, id) => (id === 0 || (min !== 0 && min < id) ? min : id), 0)
  }

  /** Parse stacks of the form, including the completed schemas that it refers back to. */
  stacksOf({ open, stacks }: Form): number {
    let max = stacks
    for (let known = this.#complete.get(open); known; known = this.#complete.get(known.open))
      max = Math.max(max, known.stacks)
    return max
  }
}

/** Parse stacks of a union of `branches`, none of them a union; undefined if the number would grow with the answer. */
export function stacksOfBranches(
  branches: readonly Form[],
  recursion: Recursion,
  spend: (compared: number) => void,
): number | undefined {
  const sum = (forms: readonly Form[]) => forms.reduce((total, form) => total + recursion.stacksOf(form), 0)
  const repeats = (forms: readonly Form[]) => forms.filter((form) => recursion.open(form) !== 0).length > 1
  const of = (bit: number) => branches.filter(({ kinds }) => kinds & bit)

  /** Forms that may all stay open for any input. */
  function unresolved(forms: readonly Form[]): number | undefined {
    return forms.length > 1 && repeats(forms) ? undefined : sum(forms)
  }

  /** Objects whose members before `index` agree. */
  function objects(forms: readonly Form[], index: number): number | undefined {
    spend(forms.length)
    const [only] = forms
    if (!only) return 0
    if (forms.length === 1) return recursion.stacksOf(only)
    const named = forms.filter((form) => form.members && index < form.members.length)
    if (forms.some(({ members }) => !members) || named.some(({ members }) => !members?.[index]?.wanted))
      return unresolved(forms)
    let max = 0
    for (const group of groups(named, ({ members }) => members?.[index]?.key ?? '')) {
      const stacks = group.length === 1 ? objects(group, index) : members(group, index)
      if (stacks === undefined) return undefined
      max = Math.max(max, stacks)
    }
    return forms.length + max
  }

  /** Objects whose member `index` has the same key; its value may or may not distinguish them. */
  function members(forms: readonly Form[], index: number): number | undefined {
    const values = forms.map((form) => form.members?.[index]?.form ?? anyValue)
    let during = 0
    let after = 0
    for (const group of overlapping(values, spend)) {
      if (group.length > 1 && repeats(group.map((at) => values[at] ?? anyValue))) return undefined
      during += sum(group.map((at) => values[at] ?? anyValue))
      const rest = objects(
        group.map((at) => forms[at] ?? anyValue),
        index + 1,
      )
      if (rest === undefined) return undefined
      after = Math.max(after, rest)
    }
    return Math.max(during, after)
  }

  const counts = [objects(of(kind.object), 0), unresolved(of(kind.array)), ...scalars.map((bit) => sum(of(bit)))]
  let max = 0
  for (const count of counts) {
    if (count === undefined) return undefined
    max = Math.max(max, count)
  }
  return max
}

/** Groups the indexes of forms so that no text can begin forms of two groups. Constants are compared as whole texts. */
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
  // A constant overlaps every non-constant form that may begin with the same character.
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
