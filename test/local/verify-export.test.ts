/** The export of a tenant on Node's SQLite, verified offline. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { verifyExport } from '../../src/local/verify-export.ts'
import { type ExportCursor, exportPage } from '../../src/tenant/life/export-rows.ts'
import { schema } from '../../src/tenant/store/schema.ts'
import { nodeSql, openBooks, testOrder, testReceipt } from '../support/tenant.ts'

const folder = mkdtempSync(join(tmpdir(), 'tramontane-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** More entries than one page, and an open reservation. */
function exportedLines(): string[] {
  const { books, db, transaction } = openBooks({ creditNano: 1e12 })
  for (let index = 0; index < 1_100; index++) {
    transaction(() => books.admit(testOrder(`r${index}`), index))
    if (index > 0) transaction(() => books.settle(testReceipt(`r${index}`), index))
  }
  const names = { tenantId: 't', name: 'T', externalId: null, planId: null }
  const head = {
    export: 'tramontane-tenant',
    format: 1,
    schema: schema.length,
    ...names,
    exportedAt: 1,
    responses: false,
  }
  const lines = [JSON.stringify(head)]
  let cursor: ExportCursor | null = null
  do {
    const page = exportPage(nodeSql(db), cursor, 'p')
    expect(page.lines.length).toBeLessThanOrEqual(500)
    lines.push(...page.lines.map((line) => `{"store":"tenant",${line.slice(1)}`))
    cursor = page.next
  } while (cursor !== null)
  return lines
}

function fileOf(lines: string[]): string {
  const body = lines.map((line) => `${line}\n`).join('')
  const sha256 = createHash('sha256').update(body).digest('hex')
  const path = join(folder, 'export.jsonl')
  writeFileSync(path, `${body}${JSON.stringify({ end: true, lines: lines.length, sha256, unchanged: true })}\n`)
  return path
}

describe('an export on disk', () => {
  it('[BKS50] `npm run ledger:verify -- --file` verifies digest, chain, sums and reservations of an export, and names each fault', async () => {
    const lines = exportedLines()
    expect(await verifyExport(fileOf(lines))).toEqual({
      tenantId: 't',
      entries: 1_100,
      sums: 'credit $1000.000000000, posted $0.000659400, reserved $0.000001000',
      faults: [],
    })
    const entry = lines.findIndex((line) => line.includes('"ref":"r500.1"'))
    const faultsOf = async (change: (line: string, at: number) => string[]) =>
      (await verifyExport(fileOf(lines.flatMap(change)))).faults.join('; ')
    expect(
      await faultsOf((line, at) => [at === entry ? line.replace('"output_tokens":5', '"output_tokens":6') : line]),
    ).toMatch(/entry \d+ was changed/)
    expect(await faultsOf((line, at) => (at === entry ? [] : [line]))).toMatch(/entries \d+ to \d+ are missing/)
    expect(await faultsOf((line) => [line.replace(/"posted_nano":\d+/, '"posted_nano":1')])).toContain(
      'posted: the entries',
    )
    expect(await faultsOf((line) => (line.includes('"table":"reservations"') ? [] : [line]))).toContain('reserved')
  })
})
