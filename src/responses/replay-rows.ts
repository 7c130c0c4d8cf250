/** Rows of idempotency keys. A replay's answer is in the rows of answers, under its own key. */
import type { Sql } from '../tenant/store/sql.ts'
import type { AnswerRows } from './answer-rows.ts'

export type Begun =
  /** The first request with this key: run it, then call `finish` or `abandon` with this attempt. */
  | { kind: 'run' }
  | { kind: 'answer'; headers: [string, string][]; text: string }
  | { kind: 'running' }
  | { kind: 'other-request' }

export class ReplayRows {
  readonly #sql: Sql
  readonly #answers: AnswerRows

  constructor(sql: Sql, answers: AnswerRows) {
    this.#sql = sql
    this.#answers = answers
  }

  /** @param runUntil time at which an attempt that has not ended counts as abandoned */
  begin(replayId: string, digest: string, attempt: string, runUntil: number, now: number): Begun {
    const row = this.#sql.all('SELECT * FROM replays WHERE id = ? AND until > ?', replayId, now)[0]
    if (!row) {
      this.#answers.remove(replayId)
      this.#sql.run('INSERT OR REPLACE INTO replays VALUES (?, ?, ?, NULL, ?)', replayId, digest, attempt, runUntil)
      return { kind: 'run' }
    }
    if (row.digest !== digest) return { kind: 'other-request' }
    if (typeof row.headers !== 'string') return { kind: 'running' }
    return { kind: 'answer', headers: JSON.parse(row.headers), text: this.#answers.text(replayId, 'body') }
  }

  /** Stores the attempt's answer. An attempt that was abandoned meanwhile changes nothing. */
  finish(replayId: string, attempt: string, headers: [string, string][], body: string, expiresAt: number): void {
    const sql = this.#sql
    const current = sql.all('SELECT 1 FROM replays WHERE id = ? AND attempt = ?', replayId, attempt).length > 0
    if (!current) return
    if (this.#answers.put(replayId, null, expiresAt, { body }))
      sql.run('UPDATE replays SET headers = ?, until = ? WHERE id = ?', JSON.stringify(headers), expiresAt, replayId)
    else sql.run('DELETE FROM replays WHERE id = ?', replayId)
  }

  /** The attempt has no answer, so the next request with this key runs again. */
  abandon(replayId: string, attempt: string): void {
    this.#sql.run('DELETE FROM replays WHERE id = ? AND attempt = ? AND headers IS NULL', replayId, attempt)
  }

  removeExpired(now: number): void {
    this.#sql.run('DELETE FROM replays WHERE until <= ?', now)
  }
}
