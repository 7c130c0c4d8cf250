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
const Purse = z.object({ window: Int, postedNano: Int, reservedNano: Int })
export const HolderRow = z.object({
  requests: Bucket,
  tokens: Bucket,
  running: Int,
  purses: z.object({ total: Purse.exactOptional(), day: Purse.exactOptional(), month: Purse.exactOptional() }),
}) satisfies z.ZodType<LimitState>

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
