/**
 * The budget for compiling all schemas of one request. All work is charged before it is done, so no schema can cost
 * more than the budget, for any references, branches and merges.
 */
import { budgets } from '../../../backends/model/budgets.ts'
import { cleanText } from '../../../backends/model/clean-text.ts'

/** A schema that cannot be enforced or exceeds the budget: the keyword, its path, and the remedy. */
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

/** Nothing matches this part of a schema. A branch or an optional property is left out; any other part is refused. */
export class NothingMatches extends SchemaRefused {
  override name = 'NothingMatches'
}

/** The schema is valid, but compiling it or answering by it would cost too much. */
export class BudgetExceeded extends SchemaRefused {
  override name = 'BudgetExceeded'
}

/** Makes a client's text printable and short for a message. */
export function shown(text: string): string {
  return cleanText(text, 120)
}

const messages = {
  schemaBytes: (max: string) => `all schemas of this request have more than ${max} bytes. Use shorter schemas`,
  schemaVisits: (max: string) =>
    `it is too large: it expands to more than ${max} parts. Use fewer properties, branches and references`,
  schemaCompared: (max: string) =>
    `its branches take more than ${max} comparisons to merge. Use fewer branches with shared keywords`,
  schemaAlternatives: (max: string) =>
    `it is too large: it has more than ${max} alternatives. Use fewer enum values and branches`,
  automatonSteps: (max: string) =>
    `its patterns and formats take more than ${max} steps to compile. Use simpler patterns and smaller repetitions`,
  automatonStates: (max: string) =>
    `its patterns, formats and bounds have more than ${max} states. Use smaller repetitions, or maxLength without pattern`,
  grammarRepeats: (max: string) =>
    `its bounds expand to more than ${max} repetitions. Use smaller bounds, or use equal bounds in several places`,
  grammarBytes: (max: string) =>
    `it is too large: its grammar has more than ${max} bytes. Use fewer properties and shorter names`,
  grammarStacks: (max: string) =>
    `it needs more than ${max} parse stacks at once. Use fewer optional properties, or give each branch a first property with its own constant`,
} as const

export type Spent = keyof typeof messages
export type CompileLimits = Readonly<Record<Spent, number>>

export const compileLimits: CompileLimits = {
  schemaBytes: budgets.schemaBytes.value,
  schemaVisits: budgets.schemaVisits.value,
  schemaCompared: budgets.schemaCompared.value,
  schemaAlternatives: budgets.schemaAlternatives.value,
  automatonSteps: budgets.automatonSteps.value,
  automatonStates: budgets.automatonStates.value,
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
  spend(limit: Spent, amount: number, path: string): void {
    this.#left[limit] -= amount
    if (!(this.#left[limit] >= 0)) this.#refuse(limit, path)
  }

  /**
   * Runs with a share of the automaton steps that are left. Undefined if they or the states do not suffice; then the
   * steps are spent and the states are not.
   */
  attempt<Result>(share: number, run: () => Result): Result | undefined {
    const { automatonSteps, automatonStates } = this.#left
    const steps = Math.floor(automatonSteps * share)
    this.#left.automatonSteps = steps
    try {
      return run()
    } catch (error) {
      if (!(error instanceof BudgetExceeded)) throw error
      this.#left.automatonStates = automatonStates
      return undefined
    } finally {
      this.#left.automatonSteps = automatonSteps - (steps - Math.max(0, this.#left.automatonSteps))
    }
  }

  /** Refuses the schema at `path` if this single value exceeds its limit. */
  hold(limit: Spent, value: number, path: string): void {
    if (!(value <= this.#limits[limit])) this.#refuse(limit, path)
  }

  #refuse(limit: Spent, path: string): never {
    throw new BudgetExceeded('schema', path, messages[limit](this.#limits[limit].toLocaleString('en-US')))
  }
}

/** Maximum nesting depth of a JSON value. Deeper values would overflow the stack of recursive functions. */
export const depthMax = budgets.jsonDepth.value

/**
 * Returns the approximate length of the value's JSON text, or undefined above `bytesMax` or below depth `levelsMax`.
 * Uses a list instead of recursion, because the value may be deeper than the stack, and stops at the limit.
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

/** Whether `jsonBytes` returned undefined because of the depth, not the bytes. */
export function isTooDeep(value: unknown, bytesMax: number): boolean {
  return jsonBytes(value, bytesMax, Number.POSITIVE_INFINITY) !== undefined
}
