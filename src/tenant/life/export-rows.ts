/**
 * Exports the rows of an object page by page, so that a large tenant needs little memory. Writes between two pages are
 * possible; `stamp` shows whether there were any.
 */
import type { Sql, SqlRow, SqlValue } from '../store/sql.ts'
import { rowsAfter, tablesOf } from './tables.ts'

export interface ExportCursor {
  table: string
  /** Key of the last exported row; empty before the first. */
  after: SqlValue[]
}

export interface ExportPage {
  /** Rows as JSON, each with its table. */
  lines: string[]
  /** Null after the last page. */
  next: ExportCursor | null
  /** Differs between two calls if rows were written in between. */
  stamp: string
}

const rowsMax = 500
/** Each row of these tables has up to a megabyte. */
const largeRows: Readonly<Record<string, number>> = { pieces: 4 }

/** @param process names the process of the object: the count of changes begins at zero in each */
export function exportPage(sql: Sql, cursor: ExportCursor | null, process: string): ExportPage {
  const tables = tablesOf(sql)
  const at = cursor === null ? 0 : tables.findIndex(({ name }) => name === cursor.table)
  const table = tables[at]
  const stamp = `${process}.${String(sql.all('SELECT total_changes() AS n')[0]?.n)}`
  if (!table) return { lines: [], next: null, stamp }
  const limit = largeRows[table.name] ?? rowsMax
  const rows = rowsAfter(sql, table, cursor?.after ?? [], limit)
  const last = rows.at(-1)
  const following = tables[at + 1]
  const next =
    rows.length === limit && last
      ? { table: table.name, after: table.key.map((column) => last[column] ?? null) }
      : following && { table: following.name, after: [] }
  return { lines: rows.map((row) => exportLine(table.name, row)), next: next ?? null, stamp }
}

function exportLine(table: string, row: SqlRow): string {
  return JSON.stringify({ table, row })
}
