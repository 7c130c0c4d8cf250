/**
 * The webhook of a tenant: its endpoint and its progress. The ledger's entries serve as the outbox: a cursor moves
 * along them, and no event is stored. A batch that was not acknowledged is retried unchanged.
 */
import { int, type Sql, type SqlRow, text } from './sql.ts'

export interface WebhookCursor {
  url: string
  eventName: string
  customerId: string
  secretVersion: number
  /** The last entry that the receiver acknowledged or that needed no event. */
  sentSeq: number
  /** The last entry of the batch in delivery. */
  batchSeq: number | null
  /** Failures in a row. */
  attempts: number
  /** Earliest next attempt, in Unix milliseconds. */
  nextAt: number
  lastFault: string | null
}

export function readMeter(sql: Sql): WebhookCursor | undefined {
  const row = sql.all('SELECT * FROM meter WHERE id = 1')[0]
  return row && meterOf(row)
}

export function putMeter(sql: Sql, meter: WebhookCursor): void {
  sql.run(
    'INSERT OR REPLACE INTO meter VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    meter.url,
    meter.eventName,
    meter.customerId,
    meter.secretVersion,
    meter.sentSeq,
    meter.batchSeq,
    meter.attempts,
    meter.nextAt,
    meter.lastFault,
  )
}

export function dropMeter(sql: Sql): void {
  sql.run('DELETE FROM meter')
}

function meterOf(row: SqlRow): WebhookCursor {
  return {
    url: text(row, 'url'),
    eventName: text(row, 'event_name'),
    customerId: text(row, 'customer_id'),
    secretVersion: int(row, 'secret_version'),
    sentSeq: int(row, 'sent_seq'),
    batchSeq: row.batch_seq === null ? null : int(row, 'batch_seq'),
    attempts: int(row, 'attempts'),
    nextAt: int(row, 'next_at'),
    lastFault: row.last_fault === null ? null : text(row, 'last_fault'),
  }
}
