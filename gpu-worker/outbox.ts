/**
 * The outbox: what this worker owes the ledger, on disk.
 *
 *   begin ──▶ running ── finish ──▶ owed ── acknowledged ──▶ (gone)
 *                │                    │ ▲
 *                │            refused ▼ │ resend
 *                │                   refused: kept for the operator, the oldest dropped first
 *                ├── forget: refused after all, nothing was generated ──▶ (gone)
 *                └── the process died: its successor makes the row a receipt of a failed request
 *
 * A folder has one owner, see outbox-lock.ts; so a row without a receipt that this process did not begin is a dead one's.
 *
 * Counts of running requests go to a small file beside the database, one fixed record per slot, because they change
 * with every token: a write at a known offset costs microseconds and survives `kill -9`, which is what it is for.
 * Commits are not flushed to the platter one by one (synchronous = NORMAL): the death of the process loses nothing, a
 * power cut may lose the last few.
 *
 * A disk that takes no more writes begins no request. What was running then is kept in memory, at most a receipt for
 * each slot, delivered from there, and written as soon as the disk takes it.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { z } from 'zod'
import { budgets } from '../backends/model/budgets.ts'
import { cleanText } from '../backends/model/clean-text.ts'
import type { Counts } from '../backends/model/money.ts'
import { Dispatch, ProvenDispatch } from '../backends/wire/dispatch.ts'
import { claimedMax, type InquiryAnswer } from '../backends/wire/inquiry.ts'
import { Receipt, receiptOf } from '../backends/wire/receipt.ts'
import { lockFolder } from './outbox-lock.ts'

const recordBytes = 16
/** The row that finds out whether the disk takes writes; no dispatch has this id. */
const probe = 'probe'
const noCounts: Counts = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }

/** Rows of versions before dispatches had proofs. The edge refuses their receipts, and its operator can settle them. */
const StoredDispatch = Dispatch.extend({ proof: z.string().max(64).default('') })

export interface Owed {
  dispatchId: string
  receipt: Receipt
}

/** What has to be written before an engine may begin is not written. */
export class OutboxFailure extends Error {
  override name = 'OutboxFailure'
  readonly code: 'outbox_down' | 'replayed_dispatch'

  constructor(code: OutboxFailure['code'], options?: ErrorOptions) {
    super(
      code === 'outbox_down' ? 'the disk of this worker takes no receipts' : 'this dispatch was used already',
      options,
    )
    this.code = code
  }
}

const primaryKeyTaken = 1_555

/** The folder's database, with its tables. Safe to open while a worker runs; only the worker holds the folder's lock. */
export function openOutboxDatabase(folder: string): DatabaseSync {
  const path = join(folder, 'outbox.sqlite')
  try {
    const db = new DatabaseSync(path)
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000')
    db.exec(`CREATE TABLE IF NOT EXISTS dispatches (
      dispatch_id TEXT PRIMARY KEY,
      slot INTEGER NOT NULL,
      dispatch TEXT NOT NULL,
      started_at INTEGER NOT NULL,
      receipt TEXT
    ) WITHOUT ROWID`)
    db.exec(`CREATE TABLE IF NOT EXISTS refused (
      seq INTEGER PRIMARY KEY,
      dispatch_id TEXT NOT NULL UNIQUE,
      dispatch TEXT NOT NULL,
      receipt TEXT,
      reason TEXT NOT NULL
    )`)
    moveOldRefused(db)
    return db
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`the receipts' outbox ${path} cannot be opened (${reason}): restore it, or move it away`, { cause })
  }
}

/** Versions before kept refused receipts among the others. */
function moveOldRefused(db: DatabaseSync): void {
  const columns = db.prepare('PRAGMA table_info(dispatches)').all()
  if (!columns.some(({ name }) => name === 'refused')) return
  db.exec(`BEGIN IMMEDIATE;
    INSERT OR IGNORE INTO refused (dispatch_id, dispatch, receipt, reason)
      SELECT dispatch_id, dispatch, receipt, refused FROM dispatches WHERE refused IS NOT NULL;
    DELETE FROM dispatches WHERE refused IS NOT NULL;
    ALTER TABLE dispatches DROP COLUMN refused;
    COMMIT`)
}

/** Makes refused receipts owed again: one, or all. Answers how many there were. */
export function resendRefused(db: DatabaseSync, dispatchId: string | null): number {
  db.exec('BEGIN IMMEDIATE')
  try {
    const which = 'receipt IS NOT NULL AND (?1 IS NULL OR dispatch_id = ?1)'
    db.prepare(
      `INSERT OR IGNORE INTO dispatches (dispatch_id, slot, dispatch, started_at, receipt)
        SELECT dispatch_id, 0, dispatch, 0, receipt FROM refused WHERE ${which}`,
    ).run(dispatchId)
    const { changes } = db.prepare(`DELETE FROM refused WHERE ${which}`).run(dispatchId)
    db.exec('COMMIT')
    return Number(changes)
  } catch (error) {
    db.exec('ROLLBACK')
    throw error
  }
}

export class Outbox {
  readonly #db: DatabaseSync
  readonly #unlock: () => void
  readonly #log: (line: string) => void
  readonly #progress: number
  readonly #record = new Uint32Array(4)
  /** Dispatches that this process has begun and not ended: no others' rows may be theirs. */
  readonly #running = new Set<string>()
  /** Receipts that the disk did not take, by dispatch. */
  readonly #unwritten = new Map<string, Receipt>()
  /** Rows that the disk did not let go of. */
  readonly #undeleted = new Set<string>()
  #broken = false
  #countFailed = false
  readonly #insert
  readonly #finish
  readonly #delete
  readonly #keep
  readonly #drop
  readonly #owed
  readonly #about

  /** Throws one sentence when another process has the folder, it cannot be used, or the file is not a database. */
  constructor(folder: string, log: (line: string) => void = (line) => process.stderr.write(`${line}\n`)) {
    this.#log = log
    this.#unlock = lockFolder(folder)
    try {
      this.#db = openOutboxDatabase(folder)
    } catch (error) {
      this.#unlock()
      throw error
    }
    this.#db.prepare('DELETE FROM dispatches WHERE dispatch_id = ?').run(probe)
    this.#progress = openSync(join(folder, 'progress.bin'), 'a+')
    closeSync(this.#progress)
    this.#progress = openSync(join(folder, 'progress.bin'), 'r+')
    this.#insert = this.#db.prepare(
      'INSERT INTO dispatches (dispatch_id, slot, dispatch, started_at, receipt) VALUES (?, ?, ?, ?, ?)',
    )
    this.#finish = this.#db.prepare('UPDATE dispatches SET receipt = ? WHERE dispatch_id = ? AND receipt IS NULL')
    this.#delete = this.#db.prepare('DELETE FROM dispatches WHERE dispatch_id = ?')
    this.#keep = this.#db.prepare(
      `INSERT OR REPLACE INTO refused (dispatch_id, dispatch, receipt, reason)
        SELECT dispatch_id, dispatch, receipt, ? FROM dispatches WHERE dispatch_id = ?`,
    )
    this.#drop = this.#db.prepare(
      'DELETE FROM refused WHERE seq <= (SELECT seq FROM refused ORDER BY seq DESC LIMIT 1 OFFSET ?)',
    )
    this.#owed = this.#db.prepare(
      `SELECT dispatch_id, dispatch, receipt FROM dispatches WHERE receipt IS NOT NULL AND dispatch_id > ?
        ORDER BY dispatch_id LIMIT ?`,
    )
    this.#about = this.#db.prepare(
      'SELECT dispatch_id, dispatch, receipt FROM dispatches WHERE dispatch_id >= ? AND dispatch_id < ?',
    )
  }

  /** Throws OutboxFailure where it cannot be written: then nothing may run, because the run would not be billed. */
  begin(dispatch: Dispatch, slot: number, now: number): void {
    if (!this.usable()) throw new OutboxFailure('outbox_down')
    try {
      this.#count(slot, noCounts)
      this.#insert.run(dispatch.dispatchId, slot, JSON.stringify(dispatch), now, null)
    } catch (cause) {
      // Used ids are in memory only. After a restart the row shows that the id was used.
      if (cause instanceof Error && 'errcode' in cause && cause.errcode === primaryKeyTaken)
        throw new OutboxFailure('replayed_dispatch', { cause })
      this.#fail('a request could not be begun', cause)
      throw new OutboxFailure('outbox_down', { cause })
    }
    this.#running.add(dispatch.dispatchId)
  }

  /** Notes how far the request in this slot has come. A disk that does not take it costs a dead worker's successor the counts, and no answer. */
  count(slot: number, counts: Readonly<Counts>): void {
    try {
      this.#count(slot, counts)
    } catch (error) {
      if (!this.#countFailed) this.#log(`outbox: counts of running requests cannot be noted (${describe(error)})`)
      this.#countFailed = true
    }
  }

  /** From here on the receipt is owed. */
  finish(receipt: Receipt): void {
    const { dispatchId } = receipt
    this.#running.delete(dispatchId)
    try {
      this.#write(receipt)
    } catch (error) {
      this.#fail(`the receipt of ${dispatchId} is kept in memory`, error)
      this.#unwritten.set(dispatchId, receipt)
    }
  }

  /** Nothing was generated for it, and its dispatch was refused: nothing is owed. */
  forget(dispatchId: string): void {
    this.#running.delete(dispatchId)
    this.#remove(dispatchId, 'a refused dispatch')
  }

  /** In the order of their ids, those behind `after`. One that cannot be read is moved to the refused. */
  owed(limit: number, after = ''): Owed[] {
    this.#writeUnwritten()
    const rows = this.#owed.all(after, limit)
    const written = rows.flatMap((row) => {
      const dispatchId = String(row.dispatch_id)
      if (this.#undeleted.has(dispatchId)) return []
      const receipt = readReceipt(String(row.receipt), String(row.dispatch))
      if (!receipt) this.refused(dispatchId, 'the receipt cannot be read')
      return receipt ? [{ dispatchId, receipt }] : []
    })
    const unwritten = [...this.#unwritten].map(([dispatchId, receipt]) => ({ dispatchId, receipt }))
    const all = [...written, ...unwritten.filter(({ dispatchId }) => dispatchId > after)]
    if (all.length === 0 && rows.length === limit) return this.owed(limit, String(rows.at(-1)?.dispatch_id))
    return all.sort((a, b) => (a.dispatchId < b.dispatchId ? -1 : 1)).slice(0, limit)
  }

  /** Which dispatches of these requests are running here, and for which a receipt is owed; each with its proof. */
  about(requestIds: string[]): InquiryAnswer {
    const answer: InquiryAnswer = { running: [], owed: [] }
    for (const requestId of requestIds) {
      // Dispatch ids are the request's id, a dot and the attempt's number.
      for (const row of this.#about.all(`${requestId}.`, `${requestId}/`)) {
        const receipt =
          this.#unwritten.get(String(row.dispatch_id)) ??
          (row.receipt === null ? undefined : readReceipt(String(row.receipt), String(row.dispatch)))
        const claim = receipt ? { ...receipt, ...receipt.terms } : readDispatch(String(row.dispatch))
        const parsed = ProvenDispatch.safeParse(claim)
        const claims = answer[receipt ? 'owed' : 'running']
        if (parsed.success && claims.length < claimedMax) claims.push(parsed.data)
      }
    }
    return answer
  }

  counts(): { running: number; owed: number; refused: number } {
    const row = this.#db
      .prepare(
        `SELECT coalesce(sum(receipt IS NULL), 0) AS running, coalesce(sum(receipt IS NOT NULL), 0) AS owed,
          (SELECT count(*) FROM refused) AS refused FROM dispatches`,
      )
      .get()
    const unwritten = this.#unwritten.size
    return {
      running: Math.max(0, Number(row?.running) - unwritten),
      owed: Number(row?.owed) + unwritten,
      refused: Number(row?.refused),
    }
  }

  acknowledged(dispatchIds: string[]): void {
    for (const dispatchId of dispatchIds) {
      const unwritten = this.#unwritten.delete(dispatchId)
      this.#remove(dispatchId, unwritten ? undefined : 'an acknowledged receipt')
    }
  }

  refused(dispatchId: string, reason: string): void {
    this.#writeUnwritten()
    try {
      this.#db.exec('BEGIN IMMEDIATE')
      try {
        const { changes } = this.#keep.run(cleanText(reason, 300), dispatchId)
        this.#delete.run(dispatchId)
        this.#drop.run(budgets.outboxRefused.value)
        this.#db.exec('COMMIT')
        if (Number(changes) !== 1) this.#missing(dispatchId, 'a refused receipt')
      } catch (error) {
        this.#db.exec('ROLLBACK')
        throw error
      }
    } catch (error) {
      this.#fail(`the refusal of ${dispatchId} cannot be noted`, error)
    }
  }

  /** The operator's receipts that the edge refused: drops them. */
  dismiss(dispatchIds: string[]): void {
    const statement = this.#db.prepare('DELETE FROM refused WHERE dispatch_id = ?')
    for (const dispatchId of dispatchIds) statement.run(dispatchId)
  }

  /**
   * What an earlier process of this worker left running has failed. Rows that this process began are left alone. One that
   * cannot be read is moved to the refused.
   */
  recover(engine: string, now: number): Receipt[] {
    const rows = this.#db
      .prepare('SELECT dispatch_id, slot, dispatch, started_at FROM dispatches WHERE receipt IS NULL')
      .all()
    return rows.flatMap((row) => {
      const dispatchId = String(row.dispatch_id)
      if (this.#running.has(dispatchId) || this.#unwritten.has(dispatchId)) return []
      const dispatch = readDispatch(String(row.dispatch))
      if (!dispatch) {
        this.refused(dispatchId, 'the dispatch cannot be read')
        return []
      }
      const receipt = receiptOf(dispatch, {
        finishReason: 'error',
        counts: this.#counted(Number(row.slot)),
        // The last token before the end may not have been written down.
        estimated: true,
        ...{ startedAt: Number(row.started_at), endedAt: now, firstTokenMs: null, engine },
      })
      this.finish(receipt)
      return [receipt]
    })
  }

  /** Whether the disk takes receipts. Where it did not, this tries again, and writes what was kept in memory. */
  usable(): boolean {
    if (!this.#broken) return true
    try {
      for (const receipt of this.#unwritten.values()) this.#write(receipt)
      this.#unwritten.clear()
      for (const dispatchId of this.#undeleted) this.#delete.run(dispatchId)
      this.#undeleted.clear()
      // The probe has about a request's size: a disk with no space left would pass a smaller one.
      this.#insert.run(probe, 0, ' '.repeat(4_096), 0, null)
      this.#delete.run(probe)
    } catch {
      return false
    }
    this.#broken = false
    this.#countFailed = false
    this.#log('outbox: the disk takes receipts again')
    return true
  }

  close(): void {
    this.#db.close()
    closeSync(this.#progress)
    this.#unlock()
  }

  #writeUnwritten(): void {
    if (this.#unwritten.size > 0) this.usable()
  }

  /** A row that is not there any more is written once more: the receipt is all that is left of the request. */
  #write(receipt: Receipt): void {
    const { dispatchId } = receipt
    const text = JSON.stringify(receipt)
    const { changes } = this.#finish.run(text, dispatchId)
    if (Number(changes) === 1) return
    this.#missing(dispatchId, 'a running request')
    this.#delete.run(dispatchId)
    this.#insert.run(dispatchId, 0, '{}', receipt.startedAt, text)
  }

  #remove(dispatchId: string, what: string | undefined): void {
    try {
      const { changes } = this.#delete.run(dispatchId)
      if (Number(changes) !== 1 && what !== undefined) this.#missing(dispatchId, what)
    } catch (error) {
      this.#fail(`${dispatchId} cannot be removed`, error)
      this.#undeleted.add(dispatchId)
    }
  }

  #missing(dispatchId: string, what: string): void {
    this.#log(`outbox: ERROR: ${what}, ${dispatchId}, was not on disk: does another program change this folder?`)
  }

  #fail(what: string, cause: unknown): void {
    if (!this.#broken)
      this.#log(`outbox: ERROR: ${what}: the disk takes no receipts (${describe(cause)}); no request begins`)
    this.#broken = true
  }

  #count(slot: number, counts: Readonly<Counts>): void {
    this.#record[0] = counts.promptTokens
    this.#record[1] = counts.cachedTokens
    this.#record[2] = counts.outputTokens
    this.#record[3] = counts.reasoningTokens
    writeSync(this.#progress, this.#record, 0, recordBytes, slot * recordBytes)
  }

  #counted(slot: number): Counts {
    this.#record.fill(0)
    readSync(this.#progress, this.#record, 0, recordBytes, slot * recordBytes)
    const [promptTokens = 0, cachedTokens = 0, outputTokens = 0, reasoningTokens = 0] = this.#record
    return { promptTokens, cachedTokens, outputTokens, reasoningTokens }
  }
}

function describe(cause: unknown): string {
  return cleanText(cause instanceof Error ? cause.message : String(cause), 200)
}

function readDispatch(text: string): Dispatch | undefined {
  const parsed = StoredDispatch.safeParse(parseJson(text))
  return parsed.success ? parsed.data : undefined
}

/** A receipt of a version before dispatches had proofs gets its terms from its dispatch. */
function readReceipt(text: string, dispatchText: string): Receipt | undefined {
  const stored = parseJson(text)
  const parsed = Receipt.safeParse(stored)
  if (parsed.success) return parsed.data
  const terms = readDispatch(dispatchText)
  const completed = Receipt.safeParse({ ...(stored as object), terms, proof: terms?.proof })
  return completed.success ? completed.data : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
