/**
 * Restores a tenant from the rows of an export, all or nothing.
 *
 *   begin ▶ rows, in any number of calls ▶ finish: migrate, put the account, verify ▶ the tenant exists
 *      └────────────── drop ──────────────┘
 *
 * Until `finish`, the table `restoring` holds the account, so no other call sees a tenant. An interrupted restore leaves
 * such a table, and the next `begin` starts over.
 */
import { isRestoring, migrate, schema } from '../store/schema.ts'
import { int, type Sql, type SqlRow, text } from '../store/sql.ts'
import { openStore } from '../store/store.ts'
import { verifyBooks } from '../verify.ts'
import type { ExportedRow } from './export-format.ts'
import { addRow, addRows, tablesOf } from './tables.ts'

export interface RestoreTarget {
  /** The id that the tenant gets. */
  tenantId: string
  /** Number of statements of the schema of the export. */
  schema: number
}

/** Returns why the tenant cannot be restored here; undefined if its rows may follow. Removes everything else. */
export function beginRestore(sql: Sql, target: RestoreTarget): string | undefined {
  if (target.schema > schema.length)
    return `the export is of a newer version (schema ${target.schema}, this gateway reads ${schema.length}). Update the gateway`
  if (!isRestoring(sql)) {
    const known = sql.all('SELECT tenant_id, deleted_at FROM account')[0]
    if (known && known.deleted_at === null)
      return `tenant ${text(known, 'tenant_id')} exists. Delete it, or choose another id`
  }
  removeAll(sql)
  sql.run('CREATE TABLE restoring (tenant_id TEXT NOT NULL, account TEXT)')
  sql.run('INSERT INTO restoring VALUES (?, NULL)', target.tenantId)
  migrate(sql, schema.slice(0, target.schema))
  return undefined
}

/** Returns why a row does not fit; undefined if all were added. */
export function restoreRows(sql: Sql, rows: readonly ExportedRow[]): string | undefined {
  if (!isRestoring(sql)) return 'no restore is in progress. Start again'
  const account = rows.find(({ table }) => table === 'account')
  if (account) sql.run('UPDATE restoring SET account = ?', JSON.stringify(account.row))
  return addRows(
    sql,
    rows.filter(({ table }) => table !== 'account'),
  )
}

/** Returns the faults of the ledger, and removes all rows if there are any. Without faults, the tenant exists. */
export function finishRestore(sql: Sql, now: number): string[] {
  const row = sql.all('SELECT tenant_id, account FROM restoring')[0]
  const account = row && row.account !== null ? (JSON.parse(text(row, 'account')) as SqlRow) : undefined
  if (!row || !account) return dropped(sql, ['the export has no account'])
  try {
    const tenantId = text(row, 'tenant_id')
    putAccount(sql, { ...account, tenant_id: tenantId })
    if (account.tenant_id !== tenantId) renamed(sql, now)
    sql.run('DROP TABLE restoring')
    migrate(sql)
    const { faults } = verifyBooks(openStore(sql))
    return faults.length > 0 ? dropped(sql, faults) : []
  } catch (error) {
    return dropped(sql, [`the rows cannot be read: ${error instanceof Error ? error.message : String(error)}`])
  }
}

/** Ends a restore that failed. */
export function dropRestore(sql: Sql): void {
  if (isRestoring(sql)) dropped(sql, [])
}

function dropped(sql: Sql, faults: string[]): string[] {
  removeAll(sql)
  migrate(sql)
  return faults.map((fault) => fault.slice(0, 300))
}

function putAccount(sql: Sql, account: SqlRow): void {
  const shape = tablesOf(sql).find(({ name }) => name === 'account')
  const fault = shape ? addRow(sql, shape, account) : 'there is no table account'
  if (fault !== undefined) throw new Error(fault)
  int(account, 'chain_seq')
}

/** The keys name the old id, so none of them can be used; and the old tenant’s receiver gets no events twice. */
function renamed(sql: Sql, now: number): void {
  sql.run('UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?), previous_hash = NULL, previous_until = NULL', now)
  sql.run('DELETE FROM meter')
}

function removeAll(sql: Sql): void {
  for (const { name } of tablesOf(sql)) sql.run(`DROP TABLE ${name}`)
  sql.run('DROP TABLE IF EXISTS restoring')
  sql.run('DROP TABLE IF EXISTS schema_version')
}
