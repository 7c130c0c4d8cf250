/** The operator's database (D1) on Node's SQLite, with the product's migrations. It is empty in each new world. */
import { readdirSync, readFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

const folder = new URL('../../src/admin/migrations/', import.meta.url)
const db = new DatabaseSync(':memory:')
for (const name of readdirSync(folder).sort()) db.exec(readFileSync(new URL(name, folder), 'utf8'))

type Call = <Value>(what: string, work: () => Promise<Value>) => Promise<Value>

interface Statement {
  rows: () => unknown[]
}

export function emptyDatabase(call: Call) {
  db.exec('DELETE FROM refused_receipts')
  const statement = (query: string, values: unknown[]) => {
    const rows = () => db.prepare(query).all(...(values as never[]))
    return {
      rows,
      bind: (...bound: unknown[]) => statement(query, bound),
      first: () => call('the database', async () => rows()[0] ?? null),
      all: () => call('the database', async () => ({ results: rows() })),
      run: () => call('the database', async () => void rows()),
    }
  }
  return {
    prepare: (query: string) => statement(query, []),
    batch: (statements: Statement[]) =>
      call('the database', async () => statements.map(({ rows }) => ({ results: rows() }))),
  }
}
