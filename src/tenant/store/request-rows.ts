/**
 * The list of a tenant's requests: open ones from memory, closed ones from the table `bookings`, which has one row a
 * request in the order of its id, and so of its time.
 *
 * A page reads at most `scannedMax` rows, however many of them its filters leave out: then it has fewer rows than its
 * limit, and the next page continues there. Only labels have an index of their own: each index adds a written row to
 * every request, and a key, model, effort or pool usually has a large part of them.
 */
import type { LedgerEntry, Reservation } from '../ledger/ledger.ts'
import { isWanted, type RequestFilter, type RequestView } from '../request-filter.ts'
import { eachLabel, noUsageLabels } from '../usage/labels.ts'
import type { EntryLabels } from './entry-rows.ts'
import type { OpenReservations } from './open-reservations.ts'
import { int, maybeInt, maybeText, type Sql, type SqlRow, type SqlValue, text } from './sql.ts'

export interface RequestPage {
  /** Id of the last request of the page before; empty for the newest. */
  before: string
  /** At least 1. */
  limit: number
  filter: RequestFilter
}

/** A few milliseconds of the tenant's object. */
const scannedMax = 5_000
const afterEveryId = '\u007f'

export class RequestRows {
  readonly #sql: Sql
  readonly #open: OpenReservations

  constructor(sql: Sql, open: OpenReservations) {
    this.#sql = sql
    this.#open = open
  }

  /** Adds an entry of a closed request to its sums. */
  addEntry(labels: EntryLabels, { requestId, kind, costNano, counts, estimated, at }: LedgerEntry): void {
    if (requestId === null || kind === 'waste') return
    const { model, pool, effort, outcome } = labels
    if (kind === 'correction') {
      const query = 'UPDATE bookings SET cost_nano = coalesce(cost_nano, 0) + ? WHERE request_id = ?'
      this.#sql.run(query, costNano, requestId)
      return
    }
    const added = (column: string) => `${column} = coalesce(${column}, 0) + ?`
    this.#sql.run(
      `UPDATE bookings SET model = ?, pool = ?, effort = ?, outcome = ?, ${added('cost_nano')}, ${added('prompt_tokens')},
        ${added('cached_tokens')}, ${added('output_tokens')}, ${added('reasoning_tokens')},
        estimated = max(coalesce(estimated, 0), ?), settled_at = ? WHERE request_id = ?`,
      ...[model, pool, effort, outcome, costNano, counts?.promptTokens ?? 0, counts?.cachedTokens ?? 0],
      ...[counts?.outputTokens ?? 0, counts?.reasoningTokens ?? 0, estimated ? 1 : 0, at, requestId],
    )
  }

  addLabels({ requestId, details }: Reservation): void {
    for (const [label, value] of eachLabel(details ?? noUsageLabels))
      this.#sql.run('INSERT OR IGNORE INTO request_labels VALUES (?, ?, ?)', label, value, requestId)
  }

  find(requestId: string): RequestView | undefined {
    const open = this.#open.get(requestId)
    if (open) return runningView(open)
    const row = this.#sql.all('SELECT * FROM bookings WHERE request_id = ?', requestId)[0]
    return row && closedView(row)
  }

  /** Newest first. `next` is the `before` of the next page; null on the last page. */
  page({ before, limit, filter }: RequestPage): { data: RequestView[]; next: string | null } {
    const range = {
      from: filter.from === undefined ? '' : idAt(filter.from),
      to:
        [before === '' ? afterEveryId : before, filter.to === undefined ? afterEveryId : idAt(filter.to)].sort()[0] ??
        '',
    }
    const { query, values } = candidates(range, filter)
    const where = conditions(filter)
    const closed = this.#sql.all(
      `SELECT * FROM (${query} LIMIT ${scannedMax}) WHERE ${where.query} ORDER BY request_id DESC LIMIT ?`,
      ...[...values, ...where.values, limit + 1],
    )
    const last =
      closed.length > limit ? undefined : this.#sql.all(`${query} LIMIT 1 OFFSET ${scannedMax - 1}`, ...values)[0]
    const scannedTo = last ? text(last, 'request_id') : ''
    const running = this.#open
      .all()
      .filter(({ requestId }) => requestId < range.to && requestId >= range.from)
      .map(runningView)
      .filter((view) => isWanted(view, filter))
    const all = [...closed.map(closedView), ...running]
      .filter(({ requestId }) => requestId >= scannedTo)
      .sort((one, other) => (one.requestId < other.requestId ? 1 : -1))
    const data = all.slice(0, limit)
    const next = all.length > limit ? (data.at(-1)?.requestId ?? null) : last ? scannedTo : null
    return { data, next }
  }
}

/** The closed requests in a range of ids, newest first. */
function candidates(
  { from, to }: { from: string; to: string },
  { user, tag }: RequestFilter,
): { query: string; values: SqlValue[] } {
  const label = user === undefined ? tag : user
  if (label === undefined)
    return {
      query: 'SELECT * FROM bookings WHERE request_id < ? AND request_id >= ? ORDER BY request_id DESC',
      values: [to, from],
    }
  return {
    query: `SELECT bookings.* FROM request_labels CROSS JOIN bookings ON bookings.request_id = request_labels.request_id
      WHERE label = ? AND value = ? AND request_labels.request_id < ? AND request_labels.request_id >= ?
      ORDER BY request_labels.request_id DESC`,
    values: [user === undefined ? 'tag' : 'user', label, to, from],
  }
}

function conditions(filter: RequestFilter): { query: string; values: SqlValue[] } {
  const among: [string, readonly string[] | undefined][] = [
    ['key_id', filter.key],
    ['model', filter.model],
    ['effort', filter.effort],
    ['pool', filter.pool],
    ['outcome', filter.outcome],
  ]
  const all: [string, SqlValue[]][] = among.flatMap(([column, values = []]) =>
    values.length === 0 ? [] : [[`${column} IN (${values.map(() => '?').join(', ')})`, [...values]]],
  )
  if (filter.costNanoMin !== undefined) all.push(['cost_nano >= ?', [filter.costNanoMin]])
  if (filter.costNanoMax !== undefined) all.push(['cost_nano <= ?', [filter.costNanoMax]])
  if (filter.user !== undefined && filter.tag !== undefined)
    all.push(["EXISTS (SELECT 1 FROM json_each(coalesce(tags, '[]')) WHERE value = ?)", [filter.tag]])
  return {
    query: ['1', ...all.map(([query]) => query)].join(' AND '),
    values: all.flatMap(([, values]) => values),
  }
}

/** The least id of a request of this time; see `newRequestId`. */
function idAt(at: number): string {
  return `req_${Math.max(0, at).toString(16).padStart(12, '0')}`
}

const unknown = {
  ...{ settledAt: null, effort: null, pool: null, promptTokens: null, cachedTokens: null, outputTokens: null },
  ...{ reasoningTokens: null, estimated: null, costNano: null },
}

function runningView({ requestId, keyId, boundNano, openedAt, details }: Reservation): RequestView {
  const { model = null, endUser = null, tags = [] } = details ?? {}
  return {
    ...unknown,
    requestId,
    createdAt: openedAt,
    outcome: 'running',
    keyId,
    model,
    user: endUser,
    tags,
    boundNano,
  }
}

function closedView(row: SqlRow): RequestView {
  const estimated = maybeInt(row, 'estimated')
  return {
    requestId: text(row, 'request_id'),
    createdAt: int(row, 'opened_at'),
    settledAt: maybeInt(row, 'settled_at'),
    outcome: maybeText(row, 'outcome'),
    keyId: text(row, 'key_id'),
    model: maybeText(row, 'model'),
    effort: maybeText(row, 'effort'),
    pool: maybeText(row, 'pool'),
    user: maybeText(row, 'end_user'),
    tags: readTags(row),
    promptTokens: maybeInt(row, 'prompt_tokens'),
    cachedTokens: maybeInt(row, 'cached_tokens'),
    outputTokens: maybeInt(row, 'output_tokens'),
    reasoningTokens: maybeInt(row, 'reasoning_tokens'),
    estimated: estimated === null ? null : estimated === 1,
    costNano: maybeInt(row, 'cost_nano'),
    boundNano: int(row, 'bound_nano'),
  }
}

/** The column `tags` of a closed request. */
export function readTags(row: SqlRow): string[] {
  const tags: unknown = row.tags == null ? [] : JSON.parse(text(row, 'tags'))
  return Array.isArray(tags) ? tags.map(String) : []
}
