/**
 * `npm run ledger:verify -- [state folder]`: verifies the ledgers in a state folder. Prints one line per tenant with
 * the result for its chain and sums. Exits with 1 on any fault. With `--file export.jsonl`, verifies the export of one
 * tenant: its digest, its form, and the ledger that a restore would get.
 *
 * The product may run meanwhile. The databases are copied, with SQLite's write-ahead log, and only the copies are read.
 * A copy taken during a write may be torn, so a database with faults is copied again.
 */
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import type { Sql, SqlRow } from '../tenant/store/sql.ts'
import { openStore } from '../tenant/store/store.ts'
import { type VerificationReport, verifyBooks } from '../tenant/verify.ts'
import { sumsOf, verifyExport } from './verify-export.ts'

const triesMax = 5
const usage =
  'usage: npm run ledger:verify -- [state folder, by default TRAMONTANE_HOME or .tramontane] | --file export.jsonl'

interface VerifiedTenant extends VerificationReport {
  name: string
  sums: string
}

async function main(args: string[]): Promise<number> {
  if (args[0] === '--file' && args[1] !== undefined && args.length === 2) return verifyFile(resolve(args[1]))
  if (args.length > 1 || args[0]?.startsWith('-')) return exitWith(usage, 2)
  const home = resolve(
    args[0] ?? process.env.TRAMONTANE_HOME ?? fileURLToPath(new URL('../../.tramontane', import.meta.url)),
  )
  if (!existsSync(home)) return exitWith(`state folder ${home} not found`, 2)
  const files = tenantFiles(home)
  if (files.length === 0) return exitWith(`${home} contains no tenant. Check that it is a state folder.`, 2)
  const temporary = mkdtempSync(join(tmpdir(), 'tramontane-verify-'))
  try {
    const checked = files.map((file) => check(file, temporary)).filter((each) => each !== undefined)
    for (const { name, entries, sums, faults } of checked) {
      console.log(`${name}: ${entries} entries, ${sums}: ${faults.length === 0 ? 'sound' : `${faults.length} faults`}`)
      for (const fault of faults) console.log(`  ${fault}`)
    }
    return checked.some(({ faults }) => faults.length > 0) ? 1 : 0
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

async function verifyFile(path: string): Promise<number> {
  if (!existsSync(path)) return exitWith(`file ${path} not found`, 2)
  const { tenantId, sums, entries, faults } = await verifyExport(path)
  console.log(`${tenantId}: ${entries} entries, ${sums}: ${faults.length === 0 ? 'sound' : `${faults.length} faults`}`)
  for (const fault of faults) console.log(`  ${fault}`)
  return faults.length > 0 ? 1 : 0
}

/** The databases of the tenant objects. Miniflare stores one file per object, in a folder per class. */
function tenantFiles(home: string): string[] {
  const objects = join(home, 'edge', 'do')
  if (!existsSync(objects)) return []
  return readdirSync(objects)
    .filter((folder) => folder.endsWith('-TenantObject'))
    .flatMap((folder) => readdirSync(join(objects, folder)).map((file) => join(objects, folder, file)))
    .filter((path) => path.endsWith('.sqlite') && basename(path) !== 'metadata.sqlite')
}

/** Undefined for an object that never became a tenant: a request named an unknown tenant. */
function check(file: string, temporary: string): VerifiedTenant | undefined {
  let checked: VerifiedTenant | undefined
  for (let attempt = 0; attempt < triesMax; attempt++) {
    const copy = join(temporary, `${attempt}-${basename(file)}`)
    // The log is copied after the database, so a page checkpointed in between is in both copies, never in neither.
    for (const suffix of ['', '-wal']) if (existsSync(file + suffix)) copyFileSync(file + suffix, copy + suffix)
    checked = read(copy, basename(file))
    if (!checked || checked.faults.length === 0) break
  }
  return checked
}

function read(path: string, name: string): VerifiedTenant | undefined {
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path)
    // The tables are read as the product left them, without migrations.
    if (!db.prepare(`SELECT 1 FROM sqlite_master WHERE name = 'account'`).get()) return undefined
    const store = openStore(readOnly(db))
    const tenant = store.account.find()
    if (!tenant) return undefined
    return { name: tenant.tenantId, sums: sumsOf(tenant), ...verifyBooks(store) }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { name, sums: 'sums unknown', entries: 0, faults: [`the database cannot be read: ${reason}`] }
  } finally {
    db?.close()
  }
}

function readOnly(db: DatabaseSync): Sql {
  return {
    all: (query, ...values) => db.prepare(query).all(...values) as SqlRow[],
    run: (query) => {
      if (!query.startsWith('CREATE TABLE IF NOT EXISTS'))
        throw new Error('the state belongs to another version of the product')
    },
  }
}

function exitWith(message: string, code: number): number {
  console.error(message)
  return code
}

process.exitCode = await main(process.argv.slice(2))
