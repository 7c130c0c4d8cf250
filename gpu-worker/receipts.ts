/**
 * `npm run worker -- receipts`: lists the worker's pending and refused receipts. Works while the worker runs.
 *
 *   receipts                          lists them
 *   receipts resend <dispatchId|all>  makes refused receipts pending again; a running worker sends them within seconds
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { z } from 'zod'
import { cleanText } from '../backends/model/clean-text.ts'
import { Counts } from '../backends/model/money.ts'
import { parseWorkerKey } from '../backends/wire/worker-key.ts'
import { openOutboxDatabase, resendRefused } from './outbox.ts'
import { outboxFolder } from './outbox-lock.ts'

const usage = 'usage: npm run worker -- receipts [resend <dispatchId|all>]'
const listedMax = 1_000

/** Returns the text to print. Throws one sentence for a wrong argument or setting. */
export function receiptsCommand(args: readonly string[], environment: Record<string, string | undefined>): string {
  const [verb, dispatchId, ...more] = args
  if (more.length > 0 || (verb !== undefined && (verb !== 'resend' || dispatchId === undefined))) throw new Error(usage)
  const db = openOutboxDatabase(folderOf(environment))
  try {
    return dispatchId === undefined ? list(db) : resend(db, dispatchId)
  } finally {
    db.close()
  }
}

function folderOf(environment: Record<string, string | undefined>): string {
  const key = parseWorkerKey(environment.TRAMONTANE_WORKER_KEY ?? '')
  if (!key) throw new Error('TRAMONTANE_WORKER_KEY: is missing or not a worker key. Set the key of the worker.')
  const folder = outboxFolder(environment.TRAMONTANE_HOME ?? '.tramontane', key.workerId)
  if (existsSync(join(folder, 'outbox.sqlite'))) return folder
  throw new Error(`TRAMONTANE_HOME: ${folder} has no receipts. Set the TRAMONTANE_HOME of the worker.`)
}

function list(db: DatabaseSync): string {
  const rows = db
    .prepare(
      `SELECT dispatch_id, receipt, NULL AS reason FROM dispatches WHERE receipt IS NOT NULL
        UNION ALL SELECT dispatch_id, receipt, reason FROM refused ORDER BY dispatch_id DESC LIMIT ?`,
    )
    .all(listedMax + 1)
  const lines = rows.slice(0, listedMax).map((row) => line(String(row.dispatch_id), row.receipt, row.reason))
  if (rows.length > listedMax) lines.push(`only the newest ${listedMax} receipts are listed`)
  return lines.length === 0 ? 'no receipt is pending or refused\n' : `${lines.join('\n')}\n`
}

const Shown = z.object({ tenantId: z.string(), outcome: z.string(), costNano: z.number(), counts: Counts })

function line(dispatchId: string, receipt: unknown, reason: unknown): string {
  const parsed = Shown.safeParse(JSON.parse(String(receipt)))
  const state = reason === null ? 'pending' : 'refused'
  if (!parsed.success) return [dispatchId, state, 'unreadable', clean(reason)].join('  ')
  const { tenantId, outcome, costNano, counts } = parsed.data
  const tokens = `${counts.promptTokens} in, ${counts.outputTokens} out`
  return [dispatchId, state, tenantId, outcome, tokens, `${costNano} nano-dollars`, clean(reason)].join('  ').trimEnd()
}

function clean(reason: unknown): string {
  return reason === null ? '' : cleanText(String(reason), 300)
}

function resend(db: DatabaseSync, dispatchId: string): string {
  const resent = resendRefused(db, dispatchId === 'all' ? null : dispatchId)
  if (resent === 0 && dispatchId !== 'all') {
    throw new Error(
      `dispatchId: no refused receipt for ${cleanText(dispatchId, 64)}. List them with: npm run worker -- receipts`,
    )
  }
  return `${resent} ${resent === 1 ? 'receipt is' : 'receipts are'} pending again\n`
}
