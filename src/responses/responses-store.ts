/**
 * Stored responses of a tenant, and the answers that a repeated idempotency key returns. Plain SQL over any SQLite;
 * `now` is passed in.
 *
 * A response is stored with its own turn only, and names the previous response. So each turn is stored once, and
 * deleting a response also ends every conversation that continues from it.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { PreviousTurns, StoredResponse } from '../dialects/dialect.ts'
import type { Sql, SqlRow } from '../tenant/store/sql.ts'

/** Maximum characters of one answer with its input; a larger one could not be loaded. */
export const answerCharactersMax = budgets.conversationCharacters.value
/** Maximum characters and turns of one conversation. */
const conversationCharactersMax = budgets.conversationCharacters.value
const turnsMax = 1_000
/** Maximum characters of a tenant; the oldest responses are removed first. */
const tenantCharactersMax = 1_000_000_000
/** A row holds at most two megabytes, and a character has up to three bytes. */
const pieceCharacters = 500_000
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

export type Begun =
  /** The first request with this key: run it, then call `finish` or `abandon` with this attempt. */
  | { kind: 'run' }
  | { kind: 'answer'; headers: [string, string][]; text: string }
  | { kind: 'running' }
  | { kind: 'other-request' }

export type ResponsesStore = ReturnType<typeof openResponses>

/** @param charactersMax limit on all stored text */
export function openResponses(sql: Sql, charactersMax = tenantCharactersMax) {
  for (const statement of schema) sql.run(statement)

  function put(id: string, previousId: string | null, expiresAt: number, parts: Record<string, string>): boolean {
    const characters = Object.values(parts).reduce((sum, text) => sum + text.length, 0)
    if (characters > answerCharactersMax) return false
    remove(id)
    evict(characters)
    sql.run('INSERT INTO answers VALUES (?, ?, ?, ?)', id, previousId, expiresAt, characters)
    for (const [part, text] of Object.entries(parts)) {
      for (const [n, piece] of pieces(text).entries())
        sql.run('INSERT INTO pieces VALUES (?, ?, ?, ?)', id, part, n, piece)
    }
    return true
  }

  function evict(characters: number): void {
    let held = Number(sql.all('SELECT coalesce(sum(characters), 0) AS held FROM answers')[0]?.held ?? 0)
    while (held + characters > charactersMax) {
      const oldest = sql.all('SELECT id, characters FROM answers ORDER BY expires_at LIMIT 1')[0]
      if (!oldest) return
      remove(String(oldest.id))
      held -= Number(oldest.characters)
    }
  }

  function remove(id: string): boolean {
    const known = sql.all('SELECT 1 FROM answers WHERE id = ?', id).length > 0
    sql.run('DELETE FROM answers WHERE id = ?', id)
    sql.run('DELETE FROM pieces WHERE id = ?', id)
    sql.run('DELETE FROM items WHERE id = ?', id)
    // A replay without its answer would be empty, so the next request with its key runs again.
    sql.run('DELETE FROM replays WHERE id = ? AND headers IS NOT NULL', id)
    return known
  }

  function text(id: string, part: string): string {
    return sql
      .all('SELECT text FROM pieces WHERE id = ? AND part = ? ORDER BY n', id, part)
      .map((row) => String(row.text))
      .join('')
  }

  const list = (id: string, part: 'input' | 'output') => JSON.parse(text(id, part)) as unknown[]

  function answer(id: string, now: number): SqlRow | undefined {
    return sql.all('SELECT * FROM answers WHERE id = ? AND expires_at > ?', id, now)[0]
  }

  function turns(previousId: string | undefined, now: number): PreviousTurns['turns'] {
    const chain: { input: unknown[]; output: unknown[] }[] = []
    let characters = 0
    for (let id: string | null = previousId ?? null; id !== null; ) {
      const row = answer(id, now)
      if (!row) return undefined
      characters += Number(row.characters)
      if (chain.length >= turnsMax || characters > conversationCharactersMax) return undefined
      chain.unshift({ input: list(id, 'input'), output: list(id, 'output') })
      id = row.previous_id === null || row.previous_id === undefined ? null : String(row.previous_id)
    }
    return chain
  }

  /** Reads each answer once, however many of its items are requested, and at most one conversation in total. */
  function itemsOf(itemIds: readonly string[], now: number): [string, unknown][] {
    const byAnswer = Map.groupBy(itemIds, (itemId) => {
      const id = sql.all('SELECT id FROM items WHERE item_id = ?', itemId)[0]?.id
      return typeof id === 'string' ? id : ''
    })
    let characters = 0
    const found = new Map<string, unknown>()
    for (const [id, wanted] of byAnswer) {
      const row = answer(id, now)
      characters += Number(row?.characters ?? 0)
      if (!row || characters > conversationCharactersMax) continue
      const wantedIds = new Set(wanted)
      for (const each of list(id, 'output')) {
        const itemId = idOf(each)
        if (itemId !== undefined && wantedIds.has(itemId)) found.set(itemId, each)
      }
    }
    return itemIds.flatMap((id) => (found.has(id) ? [[id, found.get(id)]] : []))
  }

  return {
    /** Returns false when the response is too large to store. */
    keep({ responseId, previousId, input, output, body }: StoredResponse, expiresAt: number): boolean {
      const parts = { input: JSON.stringify(input), output: JSON.stringify(output), body: JSON.stringify(body) }
      if (!put(responseId, previousId ?? null, expiresAt, parts)) return false
      for (const each of output) {
        const itemId = idOf(each)
        if (itemId !== undefined) sql.run('INSERT OR REPLACE INTO items VALUES (?, ?)', itemId, responseId)
      }
      return true
    },
    /** The stored items by id, and all turns up to the response; undefined turns when one is missing. */
    previousResponse(previousId: string | undefined, itemIds: readonly string[], now: number) {
      return { turns: turns(previousId, now), items: itemsOf(itemIds, now) }
    },
    /** The answer as the client got it, in JSON. */
    body: (responseId: string, now: number): string | undefined =>
      answer(responseId, now) ? text(responseId, 'body') : undefined,
    /** The request's input, in JSON. */
    input: (responseId: string, now: number): string | undefined =>
      answer(responseId, now) ? text(responseId, 'input') : undefined,
    forget: (responseId: string, now: number): boolean => answer(responseId, now) !== undefined && remove(responseId),

    /** @param runUntil time at which an attempt that has not ended counts as abandoned */
    begin(replayId: string, digest: string, attempt: string, runUntil: number, now: number): Begun {
      const row = sql.all('SELECT * FROM replays WHERE id = ? AND until > ?', replayId, now)[0]
      if (!row) {
        remove(replayId)
        sql.run('INSERT OR REPLACE INTO replays VALUES (?, ?, ?, NULL, ?)', replayId, digest, attempt, runUntil)
        return { kind: 'run' }
      }
      if (row.digest !== digest) return { kind: 'other-request' }
      if (typeof row.headers !== 'string') return { kind: 'running' }
      return { kind: 'answer', headers: JSON.parse(row.headers), text: text(replayId, 'body') }
    },
    /** Stores the attempt's answer. An attempt that was abandoned meanwhile changes nothing. */
    finish(replayId: string, attempt: string, headers: [string, string][], body: string, expiresAt: number): void {
      const current = sql.all('SELECT 1 FROM replays WHERE id = ? AND attempt = ?', replayId, attempt).length > 0
      if (!current) return
      if (!put(replayId, null, expiresAt, { body })) return void sql.run('DELETE FROM replays WHERE id = ?', replayId)
      sql.run('UPDATE replays SET headers = ?, until = ? WHERE id = ?', JSON.stringify(headers), expiresAt, replayId)
    },
    /** The attempt has no answer, so the next request with this key runs again. */
    abandon(replayId: string, attempt: string): void {
      sql.run('DELETE FROM replays WHERE id = ? AND attempt = ? AND headers IS NULL', replayId, attempt)
    },

    /** Deletes a bounded number of expired rows. Returns the time of the next call; undefined for an empty store. */
    prune(now: number): number | undefined {
      const expired = sql.all('SELECT id FROM answers WHERE expires_at <= ? LIMIT ?', now, prunedPerAlarm)
      for (const row of expired) remove(String(row.id))
      sql.run('DELETE FROM replays WHERE until <= ?', now)
      if (expired.length === prunedPerAlarm) return now
      const next = sql.all(
        'SELECT min(at) AS at FROM (SELECT min(expires_at) AS at FROM answers UNION ALL SELECT min(until) FROM replays)',
      )[0]?.at
      return typeof next === 'number' ? next : undefined
    },
  }
}

/** Never splits a surrogate pair: half of a pair has no UTF-8 form and would be replaced. */
function pieces(text: string): string[] {
  const list: string[] = []
  for (let at = 0; at < text.length; ) {
    const end = at + pieceCharacters
    const split = /[\ud800-\udbff]/.test(text.charAt(end - 1)) && end < text.length
    list.push(text.slice(at, split ? end - 1 : end))
    at = split ? end - 1 : end
  }
  return list
}

function idOf(item: unknown): string | undefined {
  return typeof item === 'object' && item !== null && 'id' in item && typeof item.id === 'string' ? item.id : undefined
}
