/** The table `entries`: the ledger's entries, which are never edited. */
import { z } from 'zod'
import { type EntryKind, entryKinds, type LedgerEntry } from '../ledger/ledger.ts'
import { exactSum, int, maybeText, type Sql, type SqlRow, type SqlValue, text } from './sql.ts'

/** Additional columns of an entry, for usage reports. */
export interface EntryLabels {
  keyId: string | null
  model: string | null
  pool: string | null
  effort: string | null
  workerId: string | null
  outcome: string | null
  note: string | null
}

export const noLabels: EntryLabels = {
  keyId: null,
  model: null,
  pool: null,
  effort: null,
  workerId: null,
  outcome: null,
  note: null,
}

export interface StoredEntry {
  seq: number
  hash: string
  entry: LedgerEntry
  labels: EntryLabels
}

export interface EntryPage {
  /** Number of the last entry of the page before; larger than any entry for the first page. */
  before: number
  limit: number
  /** Empty for all kinds. */
  kinds: readonly EntryKind[]
}

export class EntryRows {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  has(dispatchId: string): boolean {
    return this.#sql.all('SELECT 1 FROM entries WHERE ref = ?', dispatchId).length > 0
  }

  add({ seq, hash, entry, labels }: StoredEntry): void {
    const { counts } = entry
    this.#sql.run(
      `INSERT INTO entries (seq, request_id, ref, kind, cost_nano, credit_nano, short_nano, prompt_tokens,
        cached_tokens, output_tokens, reasoning_tokens, estimated, at, hash, key_id, model, pool, effort, worker_id, outcome, note)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ...[seq, entry.requestId, refOf(seq, entry), entry.kind, entry.costNano, entry.creditNano, entry.shortNano],
      ...[counts?.promptTokens ?? null, counts?.cachedTokens ?? null],
      ...[counts?.outputTokens ?? null, counts?.reasoningTokens ?? null],
      ...[entry.estimated ? 1 : 0, entry.at, hash, labels.keyId, labels.model, labels.pool, labels.effort],
      ...[labels.workerId, labels.outcome, labels.note],
    )
  }

  /** Every entry of one request, found by the common prefix of their `ref`. */
  ofRequest(requestId: string): SqlRow[] {
    const query = 'SELECT * FROM entries WHERE ref >= ? AND ref < ? ORDER BY seq'
    return this.#sql.all(query, ...refsOf(requestId))
  }

  /** Entries after `seq`, in order. */
  after(seq: number, limit: number): StoredEntry[] {
    return this.#sql.all('SELECT * FROM entries WHERE seq > ? ORDER BY seq LIMIT ?', seq, limit).map(readEntry)
  }

  /**
   * Number of the first entry since `time`, among those numbered `from` to `to`; `to + 1` if all are older. Times ascend
   * with the numbers, unless the clock went backwards.
   */
  firstSince(time: number, from: number, to: number): number {
    let [low, high] = [from, to + 1]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const row = this.#sql.all('SELECT at FROM entries WHERE seq = ?', middle)[0]
      if (row && int(row, 'at') >= time) high = middle
      else low = middle + 1
    }
    return low
  }

  /** Sum that all receipts of one request have posted. */
  postedNano(requestId: string): number {
    const query = `SELECT ${exactSum('cost_nano')} AS posted FROM entries WHERE ref >= ? AND ref < ? AND kind IN ('post', 'late')`
    return int(this.#sql.all(query, ...refsOf(requestId))[0] ?? { posted: 0 }, 'posted')
  }

  /** Sum of a request's charges and corrections, with the labels of its first charge. */
  chargedTo(requestId: string): { chargedNano: number; labels: EntryLabels } {
    const query = `SELECT * FROM entries WHERE ref >= ? AND ref < ? AND kind IN ('post', 'late', 'correction') ORDER BY seq`
    const stored = this.#sql.all(query, ...refsOf(requestId)).map(readEntry)
    const charged = stored.find(({ entry }) => entry.kind !== 'correction')
    const chargedNano = stored.reduce((sum, { entry }) => sum + entry.costNano, 0)
    return { chargedNano, labels: charged?.labels ?? noLabels }
  }

  /** Entries of all kinds or of some, newest first. */
  page({ before, limit, kinds }: EntryPage): SqlRow[] {
    const among = kinds.length > 0 ? `AND kind IN (${kinds.map(() => '?').join(', ')})` : ''
    return this.#sql.all(
      `SELECT * FROM entries WHERE seq < ? ${among} ORDER BY seq DESC LIMIT ?`,
      before,
      ...kinds,
      limit,
    )
  }

  /** Requests whose receipts posted more than their bound. The ledger never allows that. */
  overBound(limit: number): { requestId: string; boundNano: number; postedNano: number }[] {
    const query = `SELECT bookings.request_id, bound_nano, ${exactSum('entries.cost_nano')} AS posted FROM bookings
      JOIN entries ON ref >= bookings.request_id || '.' AND ref < bookings.request_id || '/' AND kind IN ('post', 'late')
      GROUP BY bookings.request_id HAVING posted > bound_nano LIMIT ?`
    return this.#sql.all(query, limit).map((row) => ({
      requestId: text(row, 'request_id'),
      boundNano: int(row, 'bound_nano'),
      postedNano: int(row, 'posted'),
    }))
  }

  /** Reads every entry. */
  totals(): SqlRow {
    const query = `SELECT count(*) AS entries,
      coalesce(sum(kind IN ('post', 'void', 'expire')), 0) AS closed, ${exactSum('cost_nano')} AS cost_nano,
      ${exactSum('prompt_tokens')} AS prompt_tokens, ${exactSum('cached_tokens')} AS cached_tokens,
      ${exactSum('output_tokens')} AS output_tokens, ${exactSum('reasoning_tokens')} AS reasoning_tokens
      FROM entries`
    return this.#sql.all(query)[0] ?? {}
  }
}

/**
 * The unique reference of an entry: its dispatch id, which begins with the request id, or request id and kind. A
 * request may have several corrections, so their reference ends in the entry's number.
 */
function refOf(seq: number, entry: LedgerEntry): string | null {
  if (entry.dispatchId !== null || entry.requestId === null) return entry.dispatchId
  return entry.kind === 'correction' ? `${entry.requestId}.correction.${seq}` : `${entry.requestId}.${entry.kind}`
}

/** The range of a request's references; `/` follows `.` in ASCII. */
function refsOf(requestId: string): [string, string] {
  return [`${requestId}.`, `${requestId}/`]
}

const Kind = z.enum(entryKinds)

function readEntry(row: SqlRow): StoredEntry {
  const entry = {
    requestId: maybeText(row, 'request_id'),
    dispatchId: isDispatched(row.kind) ? maybeText(row, 'ref') : null,
    kind: Kind.parse(row.kind),
    costNano: int(row, 'cost_nano'),
    creditNano: int(row, 'credit_nano'),
    shortNano: int(row, 'short_nano'),
    counts: readCounts(row),
    estimated: row.estimated === 1,
    at: int(row, 'at'),
  }
  return { seq: int(row, 'seq'), hash: text(row, 'hash'), entry, labels: readLabels(row) }
}

function readCounts(row: SqlRow): LedgerEntry['counts'] {
  if (row.prompt_tokens === null) return null
  return {
    promptTokens: int(row, 'prompt_tokens'),
    cachedTokens: int(row, 'cached_tokens'),
    outputTokens: int(row, 'output_tokens'),
    reasoningTokens: int(row, 'reasoning_tokens'),
  }
}

function readLabels(row: SqlRow): EntryLabels {
  return {
    keyId: maybeText(row, 'key_id'),
    model: maybeText(row, 'model'),
    pool: maybeText(row, 'pool'),
    effort: maybeText(row, 'effort'),
    workerId: maybeText(row, 'worker_id'),
    outcome: maybeText(row, 'outcome'),
    note: maybeText(row, 'note'),
  }
}

function isDispatched(kind: SqlValue | undefined): boolean {
  return kind === 'post' || kind === 'late' || kind === 'waste'
}
