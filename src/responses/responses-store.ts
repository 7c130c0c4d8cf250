/**
 * Stored responses of a tenant, and the answers that a repeated idempotency key returns. Plain SQL over any SQLite;
 * `now` is passed in.
 *
 * A response is stored with its own turn only, and names the previous response. So each turn is stored once, and
 * deleting a response also ends every conversation that continues from it.
 */
import type { PreviousTurns, StoredResponse } from '../dialects/dialect.ts'
import type { Sql } from '../tenant/store/sql.ts'
import { AnswerRows } from './answer-rows.ts'
import { ReplayRows } from './replay-rows.ts'
import { storedItems, storedTurns } from './stored-turns.ts'

/** Maximum characters of a tenant; the oldest responses are removed first. */
const tenantCharactersMax = 1_000_000_000
const prunedPerAlarm = 1_000

/** Statements run in order, once each. Never edit a released statement; add another. */
const schema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS answers (
    id TEXT PRIMARY KEY,
    previous_id TEXT,
    expires_at INTEGER NOT NULL,
    characters INTEGER NOT NULL
  ) WITHOUT ROWID`,
  'CREATE INDEX IF NOT EXISTS answers_by_expiry ON answers (expires_at)',
  `CREATE TABLE IF NOT EXISTS pieces (
    id TEXT NOT NULL,
    part TEXT NOT NULL CHECK (part IN ('input', 'output', 'body')),
    n INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (id, part, n)
  ) WITHOUT ROWID`,
  'CREATE TABLE IF NOT EXISTS items (item_id TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID',
  'CREATE INDEX IF NOT EXISTS items_by_answer ON items (id)',
  // A replay's answer is in `answers` and `pieces`, under its own key.
  `CREATE TABLE IF NOT EXISTS replays (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    attempt TEXT NOT NULL,
    headers TEXT,
    until INTEGER NOT NULL
  ) WITHOUT ROWID`,
]

export class ResponsesStore {
  readonly replays: ReplayRows
  readonly #sql: Sql
  readonly #answers: AnswerRows

  /** @param charactersMax limit on all stored text */
  constructor(sql: Sql, charactersMax = tenantCharactersMax) {
    for (const statement of schema) sql.run(statement)
    this.#sql = sql
    this.#answers = new AnswerRows(sql, charactersMax)
    this.replays = new ReplayRows(sql, this.#answers)
  }

  /** Returns false when the response is too large to store. */
  keep({ responseId, previousId, input, output, body }: StoredResponse, expiresAt: number): boolean {
    const parts = { input: JSON.stringify(input), output: JSON.stringify(output), body: JSON.stringify(body) }
    if (!this.#answers.put(responseId, previousId ?? null, expiresAt, parts)) return false
    this.#answers.putItems(responseId, output)
    return true
  }

  /** The stored items by id, and all turns up to the response; undefined turns when one is missing. */
  previousResponse(
    previousId: string | undefined,
    itemIds: readonly string[],
    now: number,
  ): { turns: PreviousTurns['turns']; items: [string, unknown][] } {
    return {
      turns: storedTurns(this.#answers, previousId, now),
      items: storedItems(this.#answers, itemIds, now),
    }
  }

  /** The answer as the client got it, in JSON. */
  body(responseId: string, now: number): string | undefined {
    return this.#answers.find(responseId, now) && this.#answers.text(responseId, 'body')
  }

  /** The request's input, in JSON. */
  input(responseId: string, now: number): string | undefined {
    return this.#answers.find(responseId, now) && this.#answers.text(responseId, 'input')
  }

  eraseAll(): void {
    for (const table of ['answers', 'pieces', 'items', 'replays']) this.#sql.run(`DELETE FROM ${table}`)
  }

  forget(responseId: string, now: number): boolean {
    return this.#answers.find(responseId, now) !== undefined && this.#answers.remove(responseId)
  }

  /** Deletes a bounded number of expired rows. Returns the time of the next call; undefined for an empty store. */
  prune(now: number): number | undefined {
    const removed = this.#answers.removeExpired(now, prunedPerAlarm)
    this.replays.removeExpired(now)
    if (removed === prunedPerAlarm) return now
    const next = this.#sql.all(
      'SELECT min(at) AS at FROM (SELECT min(expires_at) AS at FROM answers UNION ALL SELECT min(until) FROM replays)',
    )[0]?.at
    return typeof next === 'number' ? next : undefined
  }
}
