/**
 * Rows of stored answers: each text in pieces, and the ids of its output items. An answer that does not fit removes the
 * oldest ones.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { Sql, SqlRow } from '../tenant/store/sql.ts'

/** Maximum characters of one answer with its input; a larger one could not be loaded. */
export const answerCharactersMax = budgets.conversationCharacters.value
/** A row holds at most two megabytes, and a character has up to three bytes. */
const pieceCharacters = 500_000

export class AnswerRows {
  readonly #sql: Sql
  readonly #charactersMax: number

  /** @param charactersMax limit on all stored text */
  constructor(sql: Sql, charactersMax: number) {
    this.#sql = sql
    this.#charactersMax = charactersMax
  }

  /** Returns false when the answer is too large to store. */
  put(id: string, previousId: string | null, expiresAt: number, parts: Record<string, string>): boolean {
    const characters = Object.values(parts).reduce((sum, text) => sum + text.length, 0)
    if (characters > answerCharactersMax) return false
    this.remove(id)
    this.#evict(characters)
    this.#sql.run('INSERT INTO answers VALUES (?, ?, ?, ?)', id, previousId, expiresAt, characters)
    for (const [part, text] of Object.entries(parts)) {
      for (const [n, piece] of pieces(text).entries())
        this.#sql.run('INSERT INTO pieces VALUES (?, ?, ?, ?)', id, part, n, piece)
    }
    return true
  }

  /** Notes the ids of the answer's items, so that later requests can refer to them. */
  putItems(id: string, output: readonly unknown[]): void {
    for (const each of output) {
      const itemId = itemIdOf(each)
      if (itemId !== undefined) this.#sql.run('INSERT OR REPLACE INTO items VALUES (?, ?)', itemId, id)
    }
  }

  remove(id: string): boolean {
    const known = this.#sql.all('SELECT 1 FROM answers WHERE id = ?', id).length > 0
    this.#sql.run('DELETE FROM answers WHERE id = ?', id)
    this.#sql.run('DELETE FROM pieces WHERE id = ?', id)
    this.#sql.run('DELETE FROM items WHERE id = ?', id)
    // A replay without its answer would be empty, so the next request with its key runs again.
    this.#sql.run('DELETE FROM replays WHERE id = ? AND headers IS NOT NULL', id)
    return known
  }

  /** Undefined for an unknown or expired answer. */
  find(id: string, now: number): SqlRow | undefined {
    return this.#sql.all('SELECT * FROM answers WHERE id = ? AND expires_at > ?', id, now)[0]
  }

  text(id: string, part: 'input' | 'output' | 'body'): string {
    return this.#sql
      .all('SELECT text FROM pieces WHERE id = ? AND part = ? ORDER BY n', id, part)
      .map((row) => String(row.text))
      .join('')
  }

  list(id: string, part: 'input' | 'output'): unknown[] {
    return JSON.parse(this.text(id, part)) as unknown[]
  }

  /** The id of the answer that contains the item; empty for an unknown item. */
  idByItem(itemId: string): string {
    const id = this.#sql.all('SELECT id FROM items WHERE item_id = ?', itemId)[0]?.id
    return typeof id === 'string' ? id : ''
  }

  /** Removes at most `most` expired answers. Returns their number. */
  removeExpired(now: number, most: number): number {
    const expired = this.#sql.all('SELECT id FROM answers WHERE expires_at <= ? LIMIT ?', now, most)
    for (const row of expired) this.remove(String(row.id))
    return expired.length
  }

  #evict(characters: number): void {
    let held = Number(this.#sql.all('SELECT coalesce(sum(characters), 0) AS held FROM answers')[0]?.held ?? 0)
    while (held + characters > this.#charactersMax) {
      const oldest = this.#sql.all('SELECT id, characters FROM answers ORDER BY expires_at LIMIT 1')[0]
      if (!oldest) return
      this.remove(String(oldest.id))
      held -= Number(oldest.characters)
    }
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

export function itemIdOf(item: unknown): string | undefined {
  return typeof item === 'object' && item !== null && 'id' in item && typeof item.id === 'string' ? item.id : undefined
}
