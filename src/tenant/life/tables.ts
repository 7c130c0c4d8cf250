/** The tables of an object's database, as exports and restores see them. Works with every schema of the object. */
import { type Sql, type SqlRow, type SqlValue, text } from '../store/sql.ts'

export interface TableShape {
  name: string
  columns: string[]
  /** Columns of the primary key, in order. */
  key: string[]
}

/** Rows of these tables describe the database, not the tenant. */
const ownTables = ['schema_version', 'restoring', 'usage_copied']

export function tablesOf(sql: Sql): TableShape[] {
  const names = sql.all(
    `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*' ORDER BY name`,
  )
  return names
    .map((row) => text(row, 'name'))
    .filter((name) => !ownTables.includes(name))
    .map((name) => shapeOf(sql, name))
}

function shapeOf(sql: Sql, name: string): TableShape {
  const columns = sql.all('SELECT name, pk FROM pragma_table_info(?) ORDER BY cid', name)
  const key = columns.filter(({ pk }) => Number(pk) > 0).sort((a, b) => Number(a.pk) - Number(b.pk))
  return { name, columns: columns.map((row) => text(row, 'name')), key: key.map((row) => text(row, 'name')) }
}

/** Rows in the order of their key, after the row with the key `after`; an empty list for the first rows. */
export function rowsAfter(sql: Sql, { name, key }: TableShape, after: SqlValue[], limit: number): SqlRow[] {
  const columns = key.join(', ')
  const where = after.length > 0 ? `WHERE (${columns}) > (${key.map(() => '?').join(', ')})` : ''
  return sql.all(`SELECT * FROM ${name} ${where} ORDER BY ${columns} LIMIT ?`, ...after, limit)
}

/** Undefined if the row was added; otherwise why it does not fit the table. */
export function addRow(sql: Sql, { name, columns }: TableShape, row: SqlRow): string | undefined {
  const names = Object.keys(row)
  const unknown = names.find((each) => !columns.includes(each))
  if (unknown !== undefined) return `table ${name} has no column ${unknown.slice(0, 40)}`
  const places = names.map(() => '?').join(', ')
  sql.run(`INSERT INTO ${name} (${names.join(', ')}) VALUES (${places})`, ...Object.values(row))
  return undefined
}

/** Undefined if all rows were added; otherwise why one does not fit. */
export function addRows(sql: Sql, rows: readonly { table: string; row: SqlRow }[]): string | undefined {
  const tables = new Map(tablesOf(sql).map((table) => [table.name, table]))
  for (const { table, row } of rows) {
    const shape = tables.get(table)
    const fault = shape ? tryRow(sql, shape, row) : `there is no table ${table}`
    if (fault !== undefined) return fault
  }
  return undefined
}

function tryRow(sql: Sql, shape: TableShape, row: SqlRow): string | undefined {
  try {
    return addRow(sql, shape, row)
  } catch (error) {
    return `table ${shape.name}: ${error instanceof Error ? error.message : String(error)}`.slice(0, 200)
  }
}
