/**
 * Rows of a tenant object's SQLite, and how their columns are read. A number that is out of range is read as the nearest
 * one that is exact: a row that cannot be read would shut its tenant out, and verification still finds what is wrong.
 */
import { z } from 'zod'
import { safeInteger } from '../../backends/model/money.ts'
import type { LimitState } from './limits/limits.ts'

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
  (value) => (hasPurses(value) ? { ...value, windows: value.purses } : value),
  LimitStateFields,
) satisfies z.ZodType<LimitState>

function hasPurses(value: unknown): value is { purses: unknown } {
  return typeof value === 'object' && value !== null && 'purses' in value && !('windows' in value)
}

export function int(row: SqlRow, column: string): number {
  const value = row[column]
  if (typeof value !== 'number') throw new Error(`column ${column} holds no number`)
  return safeInteger(value)
}

export function text(row: SqlRow, column: string): string {
  const value = row[column]
  if (typeof value !== 'string') throw new Error(`column ${column} holds no text`)
  return value
}
