/**
 * The budget of compiling all schemas of one request. Every walk takes from it before it works, so that no schema can
 * cost more than the budget, for any references, branches and merges.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'

/** A schema that cannot be enforced, or that is too much work: the keyword, where it is, and what to do. */
export class SchemaRefused extends Error {
  override name = 'SchemaRefused'
  readonly keyword: string
  readonly path: string
  constructor(keyword: string, path: string, reason: string) {
    super(reason)
    this.keyword = shown(keyword)
    this.path = shown(path)
  }
}

/** A client's text in a message: printable and short. */
export function shown(text: string): string {
  return cleanText(text, 120)
}

const messages = {
  schemaBytes: (most: string) => `all schemas of this request have more than ${most} bytes. Use shorter schemas`,
  schemaVisits: (most: string) =>
    `it is too large: it comes to more than ${most} parts. Use fewer properties, branches and references`,
  schemaCompared: (most: string) =>
    `its branches take more than ${most} comparisons to merge. Use fewer branches with shared keywords`,
  schemaAlternatives: (most: string) =>
    `it is too large: it has more than ${most} alternatives. Use fewer enum values and branches`,
  grammarRepeats: (most: string) =>
    `its bounds come to more than ${most} repetitions. Use smaller bounds, or the same bounds in several places`,
  grammarBytes: (most: string) =>
    `it is too large: its grammar has more than ${most} bytes. Use fewer properties and shorter names`,
  grammarStacks: (most: string) =>
    `more than ${most} ways of reading it are open at once. Use fewer optional properties, or give the branches a first property with a constant of their own`,
} as const

export type Spent = keyof typeof messages
export type CompileLimits = Readonly<Record<Spent, number>>

export const compileLimits: CompileLimits = {
  schemaBytes: budgets.schemaBytes.value,
  schemaVisits: budgets.schemaVisits.value,
  schemaCompared: budgets.schemaCompared.value,
  schemaAlternatives: budgets.schemaAlternatives.value,
  grammarRepeats: budgets.grammarRepeats.value,
  grammarBytes: budgets.grammarBytes.value,
  grammarStacks: budgets.grammarStacks.value,
}

export class CompileBudget {
  readonly #limits: CompileLimits
  readonly #left: Record<Spent, number>

  constructor(limits: CompileLimits = compileLimits) {
    this.#limits = limits
    this.#left = { ...limits }
  }

  /** Takes `amount`, or refuses the schema at `path`. */
  spend(what: Spent, amount: number, path: string): void {
    this.#left[what] -= amount
    if (!(this.#left[what] >= 0)) this.#refuse(what, path)
  }

  /** Refuses the schema at `path` where one value alone is above its limit. */
  hold(what: Spent, value: number, path: string): void {
    if (!(value <= this.#limits[what])) this.#refuse(what, path)
  }

  #refuse(what: Spent, path: string): never {
    throw new SchemaRefused('schema', path, messages[what](this.#limits[what].toLocaleString('en-US')))
  }
}

/** The longest way down in a JSON value that is followed. Deeper values would overflow the stack of what reads them. */
export const depthMax = budgets.jsonDepth.value

/**
 * Bytes of the value's JSON text, about; undefined above `bytesMax` or where it is nested deeper than `levelsMax`.
 * Walks with a list of its own, since the value may be deeper than the stack, and stops at the limit.
 */
export function jsonBytes(value: unknown, bytesMax: number, levelsMax: number = depthMax): number | undefined {
  const waiting: { value: unknown; depth: number }[] = [{ value, depth: 0 }]
  let bytes = 0
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    bytes += 2
    if (typeof next.value === 'string') bytes += next.value.length
    if (next.value !== null && typeof next.value === 'object') {
      if (next.depth >= levelsMax) return undefined
      for (const key in next.value) {
        bytes += Array.isArray(next.value) ? 1 : key.length + 3
        if (bytes > bytesMax) return undefined
        waiting.push({ value: (next.value as Record<string, unknown>)[key], depth: next.depth + 1 })
      }
    }
    if (bytes > bytesMax) return undefined
  }
  return bytes
}

/** Whether `jsonBytes` found nothing because of the depth, and not of the bytes. */
export function isTooDeep(value: unknown, bytesMax: number): boolean {
  return jsonBytes(value, bytesMax, Number.POSITIVE_INFINITY) !== undefined
}
