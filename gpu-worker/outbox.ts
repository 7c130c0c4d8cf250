/**
 * The outbox: what this worker owes the ledger, on disk.
 *
 *   begin ──▶ running ── finish ──▶ owed ── acknowledged ──▶ (gone)
 *                │                    └── refused ─────────▶ kept for the operator
 *                ├── forget: refused after all, nothing was generated ──▶ (gone)
 *                └── the process died: at the next start the row becomes a receipt of a failed request
 *
 * Counts of running requests go to a small file beside the database, one fixed record per slot, because they change
 * with every token: a write at a known offset costs microseconds and survives `kill -9`, which is what it is for.
 * Commits are not flushed to the platter one by one (synchronous = NORMAL): the death of the process loses nothing, a
 * power cut may lose the last few.
 */
import { closeSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Dispatch } from '../backends/protocol/dispatch.ts'
import type { Counts } from '../backends/protocol/money.ts'
import { Receipt } from '../backends/protocol/receipt.ts'

const recordBytes = 16

export interface Owed {
  dispatchId: string
  receipt: Receipt
}

export class Outbox {
  readonly #db: DatabaseSync
  readonly #progress: number
  readonly #record = new Uint32Array(4)
  readonly #insert
  readonly #finish
  readonly #delete
  readonly #refuse
  readonly #owed
  readonly #about

  /** Throws one sentence when the folder cannot be used or the file is not a database. */
  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const path = join(folder, 'outbox.sqlite')
    try {
      this.#db = new DatabaseSync(path)
      this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000')
      this.#db.exec(`CREATE TABLE IF NOT EXISTS dispatches (
        dispatch_id TEXT PRIMARY KEY,
        slot INTEGER NOT NULL,
        dispatch TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        receipt TEXT,
        refused TEXT
      ) WITHOUT ROWID`)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`the receipts' outbox ${path} cannot be opened (${reason}): restore it, or move it away`, {
        cause,
      })
    }
    this.#progress = openSync(join(folder, 'progress.bin'), 'a+')
    closeSync(this.#progress)
    this.#progress = openSync(join(folder, 'progress.bin'), 'r+')
    this.#insert = this.#db.prepare(
      'INSERT INTO dispatches (dispatch_id, slot, dispatch, started_at) VALUES (?, ?, ?, ?)',
    )
    this.#finish = this.#db.prepare('UPDATE dispatches SET receipt = ? WHERE dispatch_id = ?')
    this.#delete = this.#db.prepare('DELETE FROM dispatches WHERE dispatch_id = ?')
    this.#refuse = this.#db.prepare('UPDATE dispatches SET refused = ? WHERE dispatch_id = ?')
    this.#owed = this.#db.prepare(
      'SELECT dispatch_id, receipt FROM dispatches WHERE receipt IS NOT NULL AND refused IS NULL LIMIT ?',
    )
    this.#about = this.#db.prepare(
      'SELECT receipt IS NOT NULL AS owed FROM dispatches WHERE dispatch_id >= ? AND dispatch_id < ? AND refused IS NULL',
    )
  }

  begin(dispatch: Dispatch, slot: number, now: number): void {
    this.count(slot, { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 })
    this.#insert.run(dispatch.dispatchId, slot, JSON.stringify(dispatch), now)
  }

  /** Notes how far the request in this slot has come. */
  count(slot: number, counts: Readonly<Counts>): void {
    this.#record[0] = counts.promptTokens
    this.#record[1] = counts.cachedTokens
    this.#record[2] = counts.outputTokens
    this.#record[3] = counts.reasoningTokens
    writeSync(this.#progress, this.#record, 0, recordBytes, slot * recordBytes)
  }

  /** From here on the receipt is owed. */
  finish(receipt: Receipt): void {
    this.#finish.run(JSON.stringify(receipt), receipt.dispatchId)
  }

  /** Nothing was generated for it, and its dispatch was refused: nothing is owed. */
  forget(dispatchId: string): void {
    this.#delete.run(dispatchId)
  }

  owed(limit: number): Owed[] {
    return this.#owed.all(limit).map((row) => {
      const receipt = Receipt.parse(JSON.parse(String(row.receipt)))
      return { dispatchId: receipt.dispatchId, receipt }
    })
  }

  /** Which of these requests are running here, and for which a receipt is owed. */
  about(requestIds: string[]): { running: string[]; owed: string[] } {
    const answer = { running: [] as string[], owed: [] as string[] }
    for (const requestId of requestIds) {
      // Dispatch ids are the request's id, a dot and the attempt's number.
      const rows = this.#about.all(`${requestId}.`, `${requestId}/`)
      if (rows.some((row) => row.owed === 1)) answer.owed.push(requestId)
      else if (rows.length > 0) answer.running.push(requestId)
    }
    return answer
  }

  counts(): { running: number; owed: number; refused: number } {
    const row = this.#db
      .prepare(
        `SELECT coalesce(sum(receipt IS NULL), 0) AS running, coalesce(sum(receipt IS NOT NULL AND refused IS NULL), 0) AS owed,
          coalesce(sum(refused IS NOT NULL), 0) AS refused FROM dispatches`,
      )
      .get()
    return { running: Number(row?.running), owed: Number(row?.owed), refused: Number(row?.refused) }
  }

  acknowledged(dispatchIds: string[]): void {
    for (const id of dispatchIds) this.#delete.run(id)
  }

  refused(dispatchId: string, reason: string): void {
    this.#refuse.run(reason, dispatchId)
  }

  /** What an earlier process of this worker left running has failed. Call once, before the first dispatch. */
  recover(engine: string, now: number): Receipt[] {
    const rows = this.#db.prepare('SELECT slot, dispatch, started_at FROM dispatches WHERE receipt IS NULL').all()
    const receipts = rows.map((row) => {
      const dispatch = Dispatch.parse(JSON.parse(String(row.dispatch)))
      return interrupted(dispatch, this.#counted(Number(row.slot)), engine, Number(row.started_at), now)
    })
    for (const receipt of receipts) this.finish(receipt)
    return receipts
  }

  close(): void {
    this.#db.close()
    closeSync(this.#progress)
  }

  #counted(slot: number): Counts {
    readSync(this.#progress, this.#record, 0, recordBytes, slot * recordBytes)
    const [promptTokens = 0, cachedTokens = 0, outputTokens = 0, reasoningTokens = 0] = this.#record
    return { promptTokens, cachedTokens, outputTokens, reasoningTokens }
  }
}

function interrupted(dispatch: Dispatch, counts: Counts, engine: string, startedAt: number, now: number): Receipt {
  const { requestId, dispatchId, tenantId, keyId, workerId, model, pool, effort } = dispatch
  return {
    ...{ requestId, dispatchId, tenantId, keyId, workerId, model, pool, effort },
    outcome: 'failed',
    finishReason: 'error',
    counts,
    costNano: 0,
    // The last token before the end may not have been written down.
    estimated: true,
    startedAt,
    endedAt: now,
    firstTokenMs: null,
    engine,
  }
}
