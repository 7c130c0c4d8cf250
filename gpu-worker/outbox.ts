/**
 * The outbox: receipts on disk. A receipt is owed until the gateway acknowledges it.
 *
 *   begin ──▶ running ── finish ──▶ owed ── acknowledged ──▶ (gone)
 *                │                    │ ▲
 *                │            refused ▼ │ resend
 *                │                   refused: kept for the operator, the oldest dropped first
 *                ├── forget: the dispatch was refused, nothing was generated ──▶ (gone)
 *                └── the process died: its successor writes a receipt of a failed request
 *
 * A folder has one owner (see outbox-lock.ts), so a row without a receipt that this process did not begin belongs to a
 * dead process.
 *
 * Counts of running requests change with every token, so they go to a small file next to the database, with one fixed
 * record per slot. A write at a known offset costs microseconds and survives `kill -9`. Commits are not flushed to disk
 * one by one (synchronous = NORMAL): a crash of the process loses nothing, a power cut may lose the last few.
 *
 * When the disk accepts no writes, no request begins. Receipts of requests that were running then, at most one per
 * slot, are kept in memory, delivered from there, and written once the disk accepts writes again.
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
/** Id of the row that tests whether the disk accepts writes; no dispatch has this id. */
const probe = 'probe'
const noCounts: Counts = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }

/** Older versions wrote rows without a proof. The edge refuses their receipts; its operator can settle them. */
const StoredDispatch = Dispatch.extend({ proof: z.string().max(64).default('') })

export interface Owed {
  dispatchId: string
  receipt: Receipt
}

/** The row of a dispatch was not written, so its engine must not begin. */
export class OutboxFailure extends Error {
  override name = 'OutboxFailure'
  readonly code: 'outbox_down' | 'replayed_dispatch'

  constructor(code: OutboxFailure['code'], options?: ErrorOptions) {
    super(
      code === 'outbox_down' ? 'the disk of this worker does not accept receipts' : 'the dispatch was already used',
      options,
    )
    this.code = code
  }
}

const primaryKeyTaken = 1_555

/** Opens the folder's database and creates its tables. It takes no lock, so it is safe while a worker runs. */
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
    throw new Error(`the receipts outbox ${path} cannot be opened (${reason}). Restore it, or move it away`, { cause })
  }
}

/** Older versions stored refused receipts in the table of dispatches. */
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

/** Makes one refused receipt, or all, pending again. Returns their number. */
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
  /** Dispatches that this process has begun and not ended. Recovery leaves their rows alone. */
  readonly #running = new Set<string>()
  /** Receipts that could not be written to disk, by dispatch. */
  readonly #unwritten = new Map<string, Receipt>()
  /** Rows that could not be deleted from disk. */
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

  /** Throws one sentence if another process holds the folder, it cannot be used, or the file is not a database. */
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

  /** Throws OutboxFailure if the row cannot be written. Then nothing may run, because the run would not be billed. */
  begin(dispatch: Dispatch, slot: number, now: number): void {
    if (!this.usable()) throw new OutboxFailure('outbox_down')
    try {
      this.#count(slot, noCounts)
      this.#insert.run(dispatch.dispatchId, slot, JSON.stringify(dispatch), now, null)
    } catch (cause) {
      // Used ids are in memory only. After a restart, the row is the proof that the id was used.
      if (cause instanceof Error && 'errcode' in cause && cause.errcode === primaryKeyTaken)
        throw new OutboxFailure('replayed_dispatch', { cause })
      this.#fail('cannot begin a request', cause)
      throw new OutboxFailure('outbox_down', { cause })
    }
    this.#running.add(dispatch.dispatchId)
  }

  /** Notes the counts of the request in this slot. A failed write is only logged: it must not end the answer. */
  count(slot: number, counts: Readonly<Counts>): void {
    try {
      this.#count(slot, counts)
    } catch (error) {
      if (!this.#countFailed) this.#log(`outbox: cannot write the counts of running requests (${describe(error)})`)
      this.#countFailed = true
    }
  }

  /** Makes the receipt pending. */
  finish(receipt: Receipt): void {
    const { dispatchId } = receipt
    this.#running.delete(dispatchId)
    try {
      this.#write(receipt)
    } catch (error) {
      this.#fail(`the receipt of ${dispatchId} stays in memory`, error)
      this.#unwritten.set(dispatchId, receipt)
    }
  }

  /** Drops the row of a refused dispatch. Nothing was generated for it, so there is no receipt. */
  forget(dispatchId: string): void {
    this.#running.delete(dispatchId)
    this.#remove(dispatchId, 'a refused dispatch')
  }

  /** Returns pending receipts with ids after `after`, by id. Moves an unreadable receipt to the refused ones. */
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

  /** Returns the running dispatches and the pending receipts of these requests, each with its proof. */
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
      this.#fail(`cannot store the refusal of ${dispatchId}`, error)
    }
  }

  /** Drops refused receipts for the operator. */
  dismiss(dispatchIds: string[]): void {
    const statement = this.#db.prepare('DELETE FROM refused WHERE dispatch_id = ?')
    for (const dispatchId of dispatchIds) statement.run(dispatchId)
  }

  /**
   * Writes failed receipts for requests that an earlier process of this worker left running. Leaves rows of this
   * process alone. Moves an unreadable row to the refused ones.
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
        // The last token before the crash may be missing from the counts.
        estimated: true,
        ...{ startedAt: Number(row.started_at), endedAt: now, firstTokenMs: null, engine },
      })
      this.finish(receipt)
      return [receipt]
    })
  }

  /** Returns whether the disk accepts receipts. After a failure it tries again, and writes receipts kept in memory. */
  usable(): boolean {
    if (!this.#broken) return true
    try {
      for (const receipt of this.#unwritten.values()) this.#write(receipt)
      this.#unwritten.clear()
      for (const dispatchId of this.#undeleted) this.#delete.run(dispatchId)
      this.#undeleted.clear()
      // The probe has about the size of a request: a smaller one could still fit on a full disk.
      this.#insert.run(probe, 0, ' '.repeat(4_096), 0, null)
      this.#delete.run(probe)
    } catch {
      return false
    }
    this.#broken = false
    this.#countFailed = false
    this.#log('outbox: the disk accepts receipts again')
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

  /** Writes a missing row again: the receipt is the only record of the request. */
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
      this.#fail(`cannot remove ${dispatchId}`, error)
      this.#undeleted.add(dispatchId)
    }
  }

  #missing(dispatchId: string, what: string): void {
    this.#log(
      `outbox: ERROR: ${what}, ${dispatchId}, was not on disk. Check whether another program changes this folder`,
    )
  }

  #fail(what: string, cause: unknown): void {
    if (!this.#broken)
      this.#log(
        `outbox: ERROR: ${what}: the disk does not accept receipts (${describe(cause)}). New requests are refused`,
      )
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

/** A receipt from before dispatches had proofs takes its terms from its dispatch. */
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
