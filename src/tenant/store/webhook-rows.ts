/** The table `meter`, which has one row: the tenant's webhook, its endpoint and its progress along the entries. */
import { int, maybeInt, maybeText, type Sql, type SqlRow, text } from './sql.ts'

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

export class WebhookRows {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  find(): WebhookCursor | undefined {
    const row = this.#sql.all('SELECT * FROM meter WHERE id = 1')[0]
    return row && readCursor(row)
  }

  put({ url, eventName, customerId, secretVersion, sentSeq, batchSeq, attempts, nextAt, lastFault }: WebhookCursor) {
    this.#sql.run(
      'INSERT OR REPLACE INTO meter VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      ...[url, eventName, customerId, secretVersion, sentSeq, batchSeq, attempts, nextAt, lastFault],
    )
  }

  drop(): void {
    this.#sql.run('DELETE FROM meter')
  }
}

function readCursor(row: SqlRow): WebhookCursor {
  return {
    url: text(row, 'url'),
    eventName: text(row, 'event_name'),
    customerId: text(row, 'customer_id'),
    secretVersion: int(row, 'secret_version'),
    sentSeq: int(row, 'sent_seq'),
    batchSeq: maybeInt(row, 'batch_seq'),
    attempts: int(row, 'attempts'),
    nextAt: int(row, 'next_at'),
    lastFault: maybeText(row, 'last_fault'),
  }
}
