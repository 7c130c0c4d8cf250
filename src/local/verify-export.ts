/** Verifies the export of a tenant, by restoring it into a database in a temporary folder. */
import { createReadStream, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ExportFault, readExport } from '../tenant/life/read-export.ts'
import { beginRestore, finishRestore, restoreRows } from '../tenant/life/restore-rows.ts'
import type { Tenant } from '../tenant/store/account-rows.ts'
import { migrate } from '../tenant/store/schema.ts'
import type { Sql, SqlRow } from '../tenant/store/sql.ts'
import { openStore } from '../tenant/store/store.ts'

interface VerifiedExport {
  tenantId: string
  entries: number
  sums: string
  faults: string[]
}

export async function verifyExport(path: string): Promise<VerifiedExport> {
  const folder = mkdtempSync(join(tmpdir(), 'tramontane-export-'))
  const db = new DatabaseSync(join(folder, 'tenant.sqlite'))
  try {
    // The file is thrown away, so it needs neither a journal nor a flush per row.
    db.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF')
    const sql = databaseSql(db)
    migrate(sql)
    const { tenantId, faults } = await restore(sql, path)
    const tenant = faults.length > 0 ? undefined : openStore(sql).account.find()
    if (!tenant) return { tenantId, entries: 0, sums: 'sums unknown', faults }
    const entries = Number(sql.all('SELECT count(*) AS n FROM entries')[0]?.n)
    return { tenantId, entries, sums: sumsOf(tenant), faults: [] }
  } finally {
    db.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function restore(sql: Sql, path: string): Promise<{ tenantId: string; faults: string[] }> {
  let tenantId = 'unknown tenant'
  try {
    for await (const part of readExport(createReadStream(path))) {
      if (part.kind === 'end' && !part.end.unchanged)
        throw new ExportFault('rows were written during the export. Suspend the tenant, and export it again')
      if (part.kind === 'end') continue
      if (part.kind === 'head') tenantId = part.head.tenantId
      const fault =
        part.kind === 'head'
          ? beginRestore(sql, part.head)
          : restoreRows(
              sql,
              part.rows.filter(({ store }) => store === 'tenant'),
            )
      if (fault !== undefined) throw new ExportFault(fault)
    }
    return { tenantId, faults: finishRestore(sql, Date.now()) }
  } catch (error) {
    if (error instanceof ExportFault) return { tenantId, faults: [error.message] }
    throw error
  }
}

export function sumsOf({ creditNano, postedNano, reservedNano }: Tenant): string {
  return `credit ${dollars(creditNano)}, posted ${dollars(postedNano)}, reserved ${dollars(reservedNano)}`
}

/** Exact, with nine digits after the point. */
function dollars(nano: number): string {
  return `$${Math.trunc(nano / 1e9)}.${String(nano % 1e9).padStart(9, '0')}`
}

function databaseSql(db: DatabaseSync): Sql {
  const statements = new Map<string, ReturnType<DatabaseSync['prepare']>>()
  const prepare = (query: string) => {
    const known = statements.get(query) ?? db.prepare(query)
    statements.set(query, known)
    return known
  }
  return {
    all: (query, ...values) => prepare(query).all(...values) as SqlRow[],
    run: (query, ...values) => void prepare(query).run(...values),
  }
}
