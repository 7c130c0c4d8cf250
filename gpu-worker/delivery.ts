/**
 * Delivery of receipts: sends pending receipts from the outbox to the edge, several in a call, until the edge
 * acknowledges them. One call is in flight at a time; receipts that arrive meanwhile share the next call. A receipt
 * that is not urgent waits briefly for others, because a call, its checks and its commit cost the edge about as much
 * for one as for many.
 *
 * A receipt that the edge's answer does not name (its tenant object did not respond) is retried with growing pauses and
 * does not delay other receipts.
 */
import pRetry from 'p-retry'
import { below } from '../backends/contract/root.ts'
import { cleanText } from '../backends/model/clean-text.ts'
import { ReceiptsAnswer, receiptsPath, receiptsPerCall } from '../backends/wire/receipt.ts'
import { seal } from '../backends/wire/seal.ts'
import type { Outbox, Owed } from './outbox.ts'

const gatherMs = 100
const settledWithinMs = 500
const retryMinMs = 500
const retryMaxMs = 60_000
/** Limit of remembered retry pauses. A receipt whose pause is dropped is only sent sooner. */
const waitsMax = 10_000

export interface DeliveryOptions {
  edgeUrl: URL
  kid: string
  key: CryptoKey
  outbox: Outbox
  log: (line: string) => void
  now: () => number
}

export class Delivery {
  readonly #options: DeliveryOptions
  #running: Promise<void> | undefined
  #again = false
  readonly #stop = new AbortController()

  readonly #waiting = new Map<string, () => void>()
  /** Receipts that the edge could not settle yet: when to send them again, and how long the last wait was. */
  readonly #waits = new Map<string, { until: number; ms: number }>()
  #later: NodeJS.Timeout | undefined
  #gathering: NodeJS.Timeout | undefined

  constructor(options: DeliveryOptions) {
    this.#options = options
  }

  /** Notes a pending receipt. Resolves when it is settled, or after `settledWithinMs`: a client may be waiting. */
  owed(dispatchId: string, urgent: boolean): Promise<void> {
    const settled = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, settledWithinMs)
      this.#waiting.set(dispatchId, () => {
        clearTimeout(timer)
        resolve()
      })
    }).finally(() => this.#waiting.delete(dispatchId))
    if (urgent || this.#waiting.size >= receiptsPerCall / 2) this.wake()
    else this.#gathering ??= setTimeout(() => this.wake(), gatherMs)
    return settled
  }

  /** Starts a delivery of all pending receipts. Returns at once. */
  wake(): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    if (this.#running) {
      this.#again = true
      return
    }
    clearTimeout(this.#later)
    const failed = (error: unknown) => {
      this.#options.log(
        `receipts: delivery failed (${cleanText(String(error), 200)}). They stay in the outbox and are sent again`,
      )
      this.#wakeIn(retryMaxMs)
    }
    this.#running = this.#drain()
      .catch(failed)
      .finally(() => {
        this.#running = undefined
        if (this.#again && !this.#stop.signal.aborted) {
          this.#again = false
          this.wake()
        }
      })
  }

  /** Resolves when no receipt is pending, or after `ms`. Receipts that were not delivered stay on disk. */
  async flush(ms: number): Promise<void> {
    this.wake()
    const timer = setTimeout(() => this.#stop.abort(), ms)
    while (this.#running) await this.#running
    clearTimeout(timer)
    clearTimeout(this.#later)
  }

  /** Makes one pass over all pending receipts. */
  async #drain(): Promise<void> {
    const { outbox, now } = this.#options
    let after = ''
    for (;;) {
      const page = outbox.owed(receiptsPerCall, after)
      const last = page.at(-1)
      if (!last) break
      after = last.dispatchId
      const due = page.filter(({ dispatchId }) => (this.#waits.get(dispatchId)?.until ?? 0) <= now())
      if (due.length === 0) continue
      const answer = await this.#send(due)
      if (!answer) return
      this.#heed(due, answer)
    }
    const next = Math.min(...[...this.#waits.values()].map(({ until }) => until))
    if (Number.isFinite(next)) this.#wakeIn(Math.max(retryMinMs, next - now()))
  }

  /** Undefined when delivery was stopped before an answer came. */
  async #send(owed: Owed[]): Promise<ReceiptsAnswer | undefined> {
    const { log } = this.#options
    try {
      return await pRetry(() => this.#post(owed.map((each) => each.receipt)), {
        retries: Number.POSITIVE_INFINITY,
        minTimeout: 100,
        maxTimeout: 5_000,
        randomize: true,
        signal: this.#stop.signal,
        onFailedAttempt: ({ error, attemptNumber }) => {
          if (attemptNumber === 3)
            log(
              `receipts: the gateway does not accept them (${cleanText(error.message, 200)}). They stay in the outbox and are sent again`,
            )
        },
      })
    } catch (error) {
      if (this.#stop.signal.aborted) return undefined
      throw error
    }
  }

  /** Applies the edge's answer. Ids in it that were not sent are ignored. */
  #heed(sent: Owed[], answer: ReceiptsAnswer): void {
    const { outbox, log, now } = this.#options
    const open = new Set(sent.map(({ dispatchId }) => dispatchId))
    const done = answer.done.filter((id) => open.delete(id))
    const refused = answer.refused.filter(({ dispatchId }) => open.delete(dispatchId))
    outbox.acknowledged(done)
    for (const id of done) this.#waiting.get(id)?.()
    for (const { dispatchId, reason } of refused) {
      outbox.refused(dispatchId, reason)
      log(`receipts: the gateway refused ${dispatchId}: ${cleanText(reason, 300)}`)
    }
    for (const id of [...done, ...refused.map(({ dispatchId }) => dispatchId)]) this.#waits.delete(id)
    for (const id of open) {
      const ms = Math.min(retryMaxMs, 2 * (this.#waits.get(id)?.ms ?? retryMinMs / 2))
      this.#waits.delete(id)
      this.#waits.set(id, { until: now() + ms, ms })
    }
    for (const id of this.#waits.keys()) {
      if (this.#waits.size <= waitsMax) break
      this.#waits.delete(id)
    }
  }

  #wakeIn(ms: number): void {
    if (this.#stop.signal.aborted) return
    clearTimeout(this.#later)
    this.#later = setTimeout(() => this.wake(), ms)
    this.#later.unref()
  }

  async #post(receipts: object[]): Promise<ReceiptsAnswer> {
    const { edgeUrl, key, kid } = this.#options
    const tokens = await Promise.all(receipts.map((receipt) => seal('receipt', receipt, kid, key)))
    const response = await fetch(below(edgeUrl.href, receiptsPath), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ receipts: tokens }),
      signal: AbortSignal.timeout(10_000),
    })
    if (!response.ok) throw new Error(`HTTP ${response.status} ${(await response.text()).slice(0, 200)}`)
    return ReceiptsAnswer.parse(await response.json())
  }
}
