/** Rows of a tenant object's SQLite, and how their columns are read. */
import { z } from 'zod'
import type { HolderState } from '../limits/holder.ts'

export type SqlValue = string | number | null
export type Row = Record<string, SqlValue>

export interface Sql {
  all(query: string, ...values: SqlValue[]): Row[]
  run(query: string, ...values: SqlValue[]): void
}

const Int = z.int()
const Bucket = z.object({ level: Int, at: Int })
const Purse = z.object({ window: Int, postedNano: Int, reservedNano: Int })
export const HolderRow = z.object({
  requests: Bucket,
  tokens: Bucket,
  running: Int,
  purses: z.object({ total: Purse.exactOptional(), day: Purse.exactOptional(), month: Purse.exactOptional() }),
}) satisfies z.ZodType<HolderState>

export function int(row: Row, column: string): number {
  const value = row[column]
  if (typeof value !== 'number' || !Number.isSafeInteger(value))
    throw new Error(`column ${column} holds no safe integer`)
  return value
}

export function text(row: Row, column: string): string {
  const value = row[column]
  if (typeof value !== 'string') throw new Error(`column ${column} holds no text`)
  return value
}
