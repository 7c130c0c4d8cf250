/**
 * Delivery of receipts: whatever the outbox owes goes to the edge, several in a call, until it is acknowledged. One
 * call is in flight at a time, so receipts that arrive meanwhile share the next one; one that is not urgent waits a
 * little for others, because a call, its checks and its commit cost the edge about as much for one as for many.
 */
import pRetry from 'p-retry'
import { ReceiptsAnswer, receiptsPath, receiptsPerCall } from '../backends/protocol/receipt.ts'
import { seal } from '../backends/protocol/seal.ts'
import type { Outbox } from './outbox.ts'

const gatherMs = 100
const settledWithinMs = 500

export interface DeliveryOptions {
  edgeUrl: URL
  kid: string
  key: CryptoKey
  outbox: Outbox
  log: (line: string) => void
}

export class Delivery {
  readonly #options: DeliveryOptions
  #running: Promise<void> | undefined
  #again = false
  readonly #stop = new AbortController()

  readonly #waiting = new Map<string, () => void>()
  #gathering: NodeJS.Timeout | undefined

  constructor(options: DeliveryOptions) {
    this.#options = options
  }

  /** A receipt is owed. Resolves when it is settled, or after a moment that a client can be kept waiting. */
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

  /** Something is owed. Returns at once. */
  wake(): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    if (this.#running) {
      this.#again = true
      return
    }
    this.#running = this.#drain().finally(() => {
      this.#running = undefined
      if (this.#again && !this.#stop.signal.aborted) {
        this.#again = false
        this.wake()
      }
    })
  }

  /** Resolves when nothing is owed, or after `ms`; what is left stays on disk. */
  async flush(ms: number): Promise<void> {
    this.wake()
    const timer = setTimeout(() => this.#stop.abort(), ms)
    while (this.#running) await this.#running
    clearTimeout(timer)
  }

  async #drain(): Promise<void> {
    const { outbox, log } = this.#options
    for (;;) {
      const owed = outbox.owed(receiptsPerCall)
      if (owed.length === 0) return
      try {
        const answer = await pRetry(() => this.#post(owed.map((each) => each.receipt)), {
          retries: Number.POSITIVE_INFINITY,
          minTimeout: 100,
          maxTimeout: 5_000,
          randomize: true,
          signal: this.#stop.signal,
          onFailedAttempt: ({ error, attemptNumber }) => {
            if (attemptNumber === 3)
              log(`receipts: the gateway does not take them (${error.message}); they are kept and sent again`)
          },
        })
        outbox.acknowledged(answer.done)
        for (const id of answer.done) this.#waiting.get(id)?.()
        for (const { dispatchId, reason } of answer.refused) {
          outbox.refused(dispatchId, reason)
          log(`receipts: ${dispatchId} was refused: ${reason}`)
        }
      } catch (error) {
        if (this.#stop.signal.aborted) return
        throw error
      }
    }
  }

  async #post(receipts: unknown[]): Promise<ReceiptsAnswer> {
    const { edgeUrl, key, kid } = this.#options
    const tokens = await Promise.all(receipts.map((receipt) => seal('receipt', receipt, kid, key)))
    const response = await fetch(new URL(receiptsPath, edgeUrl), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ receipts: tokens }),
      signal: AbortSignal.timeout(10_000),
    })
    if (!response.ok) throw new Error(`HTTP ${response.status} ${(await response.text()).slice(0, 200)}`)
    return ReceiptsAnswer.parse(await response.json())
  }
}
