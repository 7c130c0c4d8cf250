/**
 * All that an error must close: the idempotent attempt, the reservation, the lease, the workers' answers. `close` ends
 * them in any state; it may be called at any time and repeatedly. A posted reservation stays posted.
 */
import pRetry from 'p-retry'
import type { ErrorCode } from '../../backends/model/errors.ts'
import type { ApiKey } from '../auth/api-key.ts'
import { fleetOf } from '../fleet/client.ts'
import { GatewayError, logError } from '../http/errors.ts'
import type { Idempotency } from '../responses/idempotency.ts'
import type { KeyCheck } from '../tenant/key-check.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { Answered } from './answered.ts'
import type { RequestContext } from './context.ts'
import { tenantStub } from './reserve.ts'
import type { Attempts } from './run-attempts.ts'
import { takeRates } from './take-rates.ts'

const retries = { retries: 4, minTimeout: 100 }

const bodyFaults: ReadonlySet<ErrorCode> = new Set([
  'invalid_json',
  'invalid_value',
  'request_too_large',
  'model_not_found',
  'not_found',
  'previous_response_not_found',
] as const)

export class OpenRequest {
  readonly #context: RequestContext
  readonly #key: ApiKey
  readonly #check: KeyCheck
  readonly #pending = new Set<Promise<Answered>>()
  #idempotency: Idempotency | undefined
  #attempts: Attempts | undefined
  #mayBeReserved = false
  #closed = false

  constructor(context: RequestContext, key: ApiKey, check: KeyCheck) {
    this.#context = context
    this.#key = key
    this.#check = check
    // Work after the answer may fail too: a lost void, or the pump itself.
    context.onEnd((failed) => {
      if (failed) this.close()
    })
  }

  /** Reserves. After a refusal there is no reservation; after any other failure there may be one. */
  async reserve(idempotency: Idempotency, admit: () => Promise<Admission>): Promise<Admission> {
    this.#idempotency = idempotency
    this.#mayBeReserved = true
    try {
      return await admit()
    } catch (error) {
      if (error instanceof GatewayError) this.#mayBeReserved = false
      throw error
    }
  }

  /** Ends these attempts, and every answer that they start, when the request is closed. */
  watch(attempts: Attempts): Attempts {
    this.#attempts = attempts
    return attempts
  }

  /** An answer that has started, or will. */
  readonly started = (pending: Promise<Answered>): void => {
    this.#pending.add(pending)
    pending.catch((error: unknown) => {
      // The fleet may have granted a lease whose answer was lost.
      if (!(error instanceof GatewayError)) this.#release()
    })
  }

  /** Closes the request after an error. @returns the error for the client */
  async failed(error: unknown): Promise<unknown> {
    if (!this.#idempotency) return await this.#charged(error)
    this.close()
    if (this.#idempotency.kind === 'first') this.#idempotency.attempt.drop()
    this.#check.refused(error)
    return error
  }

  /** A refused body counts as one request against the rates: reading it cost as much as reading a valid one. */
  async #charged(error: unknown): Promise<unknown> {
    if (!(error instanceof GatewayError) || !bodyFaults.has(error.code)) return error
    try {
      await takeRates(this.#context, this.#key, 0)
      return error
    } catch (refusal) {
      this.#check.refused(refusal)
      return refusal
    }
  }

  close(): void {
    if (this.#closed || !this.#mayBeReserved) return
    this.#closed = true
    // Aborts dispatches in flight, and leaves the queue.
    this.#context.leave()
    try {
      this.#attempts?.cancel()
    } catch (error) {
      logError(`request ${this.#context.requestId}: the attempts cannot be cancelled`, error)
    }
    for (const served of this.#pending) this.#context.waitUntil(dropped(served))
    this.#context.waitUntil(this.#void())
    this.#release()
  }

  #release(): void {
    const { env, requestId } = this.#context
    this.#context.waitUntil(pRetry(() => fleetOf(env).release([requestId]), retries).catch(this.#failed))
  }

  async #void(): Promise<void> {
    const { requestId } = this.#context
    try {
      // A stub that failed stays broken, so each try uses a new one.
      // The tenant remembers a void that arrives before its admission.
      await pRetry(() => tenantStub(this.#context, this.#key.tenantId).void(requestId), retries)
    } catch (error) {
      this.#failed(error)
    }
  }

  readonly #failed = (error: unknown) =>
    logError(`request ${this.#context.requestId}: not closed; its reservation ends when it expires`, error)
}

async function dropped(pending: Promise<Answered>): Promise<void> {
  const served = await pending.catch(() => undefined)
  served?.watch?.stop()
  // A stream that is locked elsewhere is ended by its reader.
  await served?.rest.cancel().catch(() => undefined)
}
