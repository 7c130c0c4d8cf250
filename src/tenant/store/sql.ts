/**
 * Access to a tenant object's SQLite, which a Durable Object and, in tests, Node implement. A number out of range is
 * read as the nearest exact integer: an unreadable row would block its tenant, and verification still reports the fault.
 */
import { nanoMax, safeInteger } from '../../../backends/model/money.ts'

export type SqlValue = string | number | null
export type SqlRow = Record<string, SqlValue>

export interface Sql {
  all(query: string, ...values: SqlValue[]): SqlRow[]
  run(query: string, ...values: SqlValue[]): void
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

/** An integer that may be absent. */
export function maybeInt(row: SqlRow, column: string): number | null {
  return row[column] == null ? null : int(row, column)
}

export function maybeText(row: SqlRow, column: string): string | null {
  return row[column] == null ? null : text(row, column)
}

/** SQL for the sum of a column as an exact integer. SQLite's own sum() fails beyond 64 bits. */
export function exactSum(column: string): string {
  return `CAST(max(-${nanoMax}, min(${nanoMax}, total(${column}))) AS INTEGER)`
}
