/**
 * Reads rows of a tenant object's SQLite. A number out of range is read as the nearest exact integer: an unreadable row
 * would block its tenant, and verification still reports the fault.
 */
import { z } from 'zod'
import { safeInteger } from '../../../backends/model/money.ts'
import type { LimitState } from '../limits/limits.ts'

export type SqlValue = string | number | null
export type SqlRow = Record<string, SqlValue>

export interface Sql {
  all(query: string, ...values: SqlValue[]): SqlRow[]
  run(query: string, ...values: SqlValue[]): void
}

/** JSON writes a number that is not finite as null. */
export const Int = z
  .number()
  .nullable()
  .transform((value) => safeInteger(value ?? 0))
const Bucket = z.object({ level: Int, at: Int })
const BudgetWindow = z.object({ window: Int, postedNano: Int, reservedNano: Int })
const LimitStateFields = z.object({
  requests: Bucket,
  tokens: Bucket,
  running: Int,
  windows: z.object({
    total: BudgetWindow.exactOptional(),
    day: BudgetWindow.exactOptional(),
    month: BudgetWindow.exactOptional(),
  }),
})
/** Rows written before version 0.2 call the windows `purses`. */
export const LimitStateRow = z.preprocess(
  (value) => (isOldRow(value) ? { ...value, windows: value.purses } : value),
  LimitStateFields,
) satisfies z.ZodType<LimitState>

function isOldRow(value: unknown): value is { purses: unknown } {
  return typeof value === 'object' && value !== null && 'purses' in value && !('windows' in value)
}

export function int(row: SqlRow, column: string): number {
  const value = row[column]
  if (typeof value !== 'number') throw new Error(`column ${column} is not a number`)
  return safeInteger(value)
}

export function text(row: SqlRow, column: string): string {
  const value = row[column]
  if (typeof value !== 'string') throw new Error(`column ${column} is not a text`)
  return value
}
