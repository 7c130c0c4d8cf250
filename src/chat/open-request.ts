/**
 * What a request has open from the moment it asks for a reservation: the reservation, its lease, the answers of workers.
 * `close` ends all of it in any state; it may be called at any time and any number of times. A reservation
 * that is posted already stays posted.
 */
import pRetry from 'p-retry'
import type { ApiKey } from '../auth/api-key.ts'
import { fleetOf } from '../fleet/client.ts'
import { GatewayError, logError } from '../http/errors.ts'
import { tenantStub } from '../tenant/client.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { Answered, AttemptState } from './attempts.ts'
import type { RequestContext } from './context.ts'

const retries = { retries: 4, minTimeout: 100 }

export class OpenRequest {
  readonly #line: RequestContext
  readonly #key: ApiKey
  readonly #pending = new Set<Promise<Answered>>()
  #service: AttemptState | undefined
  #mayBeReserved = false
  #closed = false

  constructor(context: RequestContext, key: ApiKey) {
    this.#line = context
    this.#key = key
    // Work behind the answer may fail as well: a void that was lost, or the pump itself.
    context.onEnd((failed) => {
      if (failed) this.close()
    })
  }

  /** The reservation. After a refusal there is none; after any other failure there may be one. */
  async reserve(ask: () => Promise<Admission>): Promise<Admission> {
    this.#mayBeReserved = true
    try {
      return await ask()
    } catch (error) {
      if (error instanceof GatewayError) this.#mayBeReserved = false
      throw error
    }
  }

  /** The same service; its answers end when the request is closed. */
  watch(attempts: AttemptState): AttemptState {
    this.#service = attempts
    return {
      ...attempts,
      next: () => {
        const served = attempts.next()
        this.#pending.add(served)
        served.catch((error: unknown) => {
          // The grant of a lease may have been lost on its way.
          if (!(error instanceof GatewayError)) this.#release()
        })
        return served
      },
    }
  }

  close(): void {
    if (this.#closed || !this.#mayBeReserved) return
    this.#closed = true
    // Stops what is on its way to a worker, and leaves the queue.
    this.#line.leave()
    try {
      this.#service?.cancel()
    } catch (error) {
      logError(`request ${this.#line.requestId}: its service cannot be cancelled`, error)
    }
    for (const served of this.#pending) this.#line.waitUntil(dropped(served))
    this.#line.waitUntil(this.#void())
    this.#release()
  }

  #release(): void {
    const { env, requestId } = this.#line
    this.#line.waitUntil(pRetry(() => fleetOf(env).release([requestId]), retries).catch(this.#failed))
  }

  async #void(): Promise<void> {
    const { requestId } = this.#line
    try {
      // A stub that failed stays broken: each try takes a new one.
      // A void that comes before its admission is remembered there.
      await pRetry(() => tenantStub(this.#line, this.#key.tenantId).void(requestId), retries)
    } catch (error) {
      this.#failed(error)
    }
  }

  readonly #failed = (error: unknown) =>
    logError(`request ${this.#line.requestId}: it is not closed and ends by its expiry`, error)
}

async function dropped(pending: Promise<Answered>): Promise<void> {
  const served = await pending.catch(() => undefined)
  served?.watch?.stop()
  // Where its reader is held elsewhere, that one ends it.
  await served?.rest.cancel().catch(() => undefined)
}
