/**
 * One Durable Object per tenant with its stored responses and the answers of idempotent requests. Other requests never
 * call it, and the tenant object does not depend on it.
 */
import { DurableObject } from 'cloudflare:workers'
import type { StoredResponse } from '../dialects/dialect.ts'
import type { Alarm } from '../tenant/alarm.ts'
import { durableAlarm, durableSql } from '../tenant/durable-storage.ts'
import type { ExportedRow } from '../tenant/life/export-format.ts'
import { type ExportCursor, type ExportPage, exportPage } from '../tenant/life/export-rows.ts'
import { addRows } from '../tenant/life/tables.ts'
import type { Begun } from './replay-rows.ts'
import { ResponsesStore } from './responses-store.ts'

/** Time after which an attempt counts as abandoned: longer than any wait plus any answer. */
const attemptMs = 15 * 60_000
/** How long a request waits for the running request with the same key. */
const waitMs = 25_000

export class ResponsesObject extends DurableObject {
  readonly #store: ResponsesStore
  /** Callbacks of the requests that wait for an attempt to end. */
  readonly #waiting = new Map<string, Set<() => void>>()
  readonly #alarm: Alarm
  /** Names this process of the object; see export-rows.ts. */
  readonly #process = crypto.randomUUID()

  constructor(state: DurableObjectState, env: unknown) {
    super(state, env as never)
    this.#store = state.storage.transactionSync(() => new ResponsesStore(durableSql(state.storage.sql)))
    this.#alarm = durableAlarm(state)
  }

  /** Returns whether the response was stored. */
  keep(stored: StoredResponse, expiresAt: number): boolean {
    const done = this.ctx.storage.transactionSync(() => this.#store.keep(stored, expiresAt))
    if (done) this.#alarm.wakeAt(expiresAt)
    return done
  }

  previousResponse(previousId: string | undefined, itemIds: string[]) {
    const { turns, items } = this.#store.previousResponse(previousId, itemIds, Date.now())
    // As JSON, because RPC requires a known shape and these values are the client's own.
    return { turns: turns && JSON.stringify(turns), items: JSON.stringify(items) }
  }

  body(responseId: string): string | undefined {
    return this.#store.body(responseId, Date.now())
  }

  input(responseId: string): string | undefined {
    return this.#store.input(responseId, Date.now())
  }

  forget(responseId: string): boolean {
    return this.ctx.storage.transactionSync(() => this.#store.forget(responseId, Date.now()))
  }

  /** Waits for a running request with the same key. Returns `running` when that takes too long. */
  async begin(replayId: string, digest: string, attempt: string): Promise<Begun> {
    const deadline = Date.now() + waitMs
    for (;;) {
      const now = Date.now()
      const begun = this.ctx.storage.transactionSync(() =>
        this.#store.replays.begin(replayId, digest, attempt, now + attemptMs, now),
      )
      if (begun.kind === 'run') this.#alarm.wakeAt(now + attemptMs)
      if (begun.kind !== 'running' || now >= deadline) return begun
      await this.#ended(replayId, deadline - now)
    }
  }

  finish(replayId: string, attempt: string, headers: [string, string][], body: string, expiresAt: number): void {
    this.ctx.storage.transactionSync(() => this.#store.replays.finish(replayId, attempt, headers, body, expiresAt))
    this.#alarm.wakeAt(expiresAt)
    this.#notify(replayId)
  }

  abandon(replayId: string, attempt: string): void {
    this.ctx.storage.transactionSync(() => this.#store.replays.abandon(replayId, attempt))
    this.#notify(replayId)
  }

  exportPage(cursor: ExportCursor | null): ExportPage {
    return exportPage(durableSql(this.ctx.storage.sql), cursor, this.#process)
  }

  /** Adds rows of an export. Returns why one does not fit; undefined if all were added. */
  restoreRows(rows: ExportedRow[]): string | undefined {
    this.#alarm.wakeAt(Date.now() + attemptMs)
    return this.ctx.storage.transactionSync(() => addRows(durableSql(this.ctx.storage.sql), rows))
  }

  /** Deletes every stored response and every answer of an idempotent request. */
  eraseAll(): void {
    this.ctx.storage.transactionSync(() => this.#store.eraseAll())
  }

  override async alarm(): Promise<void> {
    this.#alarm.fired()
    const next = this.ctx.storage.transactionSync(() => this.#store.prune(Date.now()))
    if (next !== undefined) this.#alarm.wakeAt(next)
  }

  /** Resolves when an attempt has ended, or after `ms`. */
  #ended(replayId: string, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(replayId) ?? new Set()
      this.#waiting.set(replayId, waiting)
      const timer = setTimeout(done, ms)
      function done() {
        clearTimeout(timer)
        waiting.delete(done)
        resolve()
      }
      waiting.add(done)
    })
  }

  #notify(replayId: string): void {
    for (const done of this.#waiting.get(replayId) ?? []) done()
    this.#waiting.delete(replayId)
  }
}
