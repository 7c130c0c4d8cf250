/**
 * The budget of everything that a client sends and that costs more than linear work. One table: the code that enforces
 * a budget reads it here, `/docs` and SECURITY.md print it, and a test compares them. A value above its budget is
 * refused by the field's path, or ends that request alone.
 */
export interface Budget {
  readonly value: number
  readonly unit: 'bytes' | 'characters' | 'milliseconds' | 'count' | 'percent'
  /** What the budget bounds, as a noun phrase for the published table. */
  readonly bounds: string
  /** Why it has this value: a measurement, or the limit of another system. */
  readonly reason: string
}

export const budgets = {
  bodyBytes: {
    value: 32 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'request body',
    reason: 'a long conversation with images; one isolate has 128 MiB for the body and all that is made of it',
  },
} as const satisfies Record<string, Budget>

export type BudgetName = keyof typeof budgets
