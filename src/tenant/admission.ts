/**
 * Admission, decided in one step from the tenant's rows: is the key good, do the limits allow it, does the money
 * suffice. Pure; the tenant object loads the rows, calls this and writes what it returns. A refusal writes nothing.
 */
import { boundNano, type Rates } from '../../backends/protocol/money.ts'
import { constantTimeEqual } from '../auth/secret.ts'
import { type Booking, leftNano, raise, reserve } from '../ledger/ledger.ts'
import { type Bucket, take, unitsLeft } from '../limits/bucket.ts'
import type { KeyRow, Tenant } from './store.ts'

export interface AdmissionOrder {
  requestId: string
  keyId: string
  secretHash: string
  model: string
  /** Upper bound on the prompt, in tokens: an estimate, or the worker's exact count when it is asked a second time. */
  promptTokens: number
  /** Upper bound on the output that the client or the model's default sets, in tokens. */
  outputTokens: number
}

export type Refused = {
  ok: false
  code: 'invalid_api_key' | 'rate_limit_exceeded' | 'insufficient_quota' | 'permission_denied' | 'internal_error'
  message: string
  retryAfterMs: number | null
}

export interface Admitted {
  ok: true
  tenant: Tenant
  booking: Booking
  bucket: Bucket | null
  rates: Rates
  outputTokensMax: number
  requestsLeft: number | null
}

/** How long a reservation may stay open before it is looked into: longer than any queue plus any answer. */
export const reservationTtlMs = 15 * 60_000

export function admit(
  order: AdmissionOrder,
  rows: {
    tenant: Tenant
    key: KeyRow | undefined
    rates: Rates | undefined
    booking: Booking | undefined
    open: number
  },
  now: number,
): Admitted | Refused {
  const { tenant, key, rates, booking } = rows
  const keyFault = checkKey(key, order.secretHash, now)
  if (!key || keyFault) return refuse('invalid_api_key', keyFault ?? 'unknown key')
  if (!rates)
    return refuse('permission_denied', `this tenant has no rate card for ${order.model}: ask the operator for one`)
  if (tenant.concurrentMax > 0 && rows.open >= tenant.concurrentMax) {
    const message = `${rows.open} requests are running, and this tenant may run ${tenant.concurrentMax}: wait for one to end`
    return refuse('rate_limit_exceeded', message, 1_000)
  }
  const perMinute = key.requestsPerMinute
  const taken = perMinute > 0 ? take(key.bucket, perMinute, 1, now) : undefined
  if (taken && !taken.ok) {
    const seconds = (taken.retryAfterMs / 1_000).toFixed(1)
    const message = `this key may send ${perMinute} requests a minute: please try again in ${seconds}s`
    return refuse('rate_limit_exceeded', message, taken.retryAfterMs)
  }
  const bound = boundNano(order.promptTokens, order.outputTokens, rates)
  const expiresAt = now + reservationTtlMs
  const reserved = reserve(
    tenant,
    booking,
    { requestId: order.requestId, keyId: order.keyId, boundNano: bound, expiresAt },
    now,
  )
  if (reserved.answer === 'insufficient') return refuse('insufficient_quota', moneyMessage(bound, leftNano(tenant)))
  if (reserved.answer !== 'reserved') return refuse('internal_error', `request id ${order.requestId} is in use`)
  return {
    ok: true,
    tenant: { ...tenant, ...reserved.account },
    booking: reserved.booking,
    bucket: taken?.bucket ?? null,
    rates,
    outputTokensMax: order.outputTokens,
    requestsLeft: taken ? unitsLeft(taken.bucket, perMinute, now) : null,
  }
}

/** The second and last word on an open reservation: the worker counted a longer prompt than was reserved for. */
export function readmit(
  order: Pick<AdmissionOrder, 'promptTokens' | 'outputTokens'>,
  rows: { tenant: Tenant; rates: Rates; booking: Booking | undefined },
): { ok: true; tenant: Tenant; booking: Booking } | Refused {
  const bound = boundNano(order.promptTokens, order.outputTokens, rows.rates)
  const raised = raise(rows.tenant, rows.booking, bound)
  if (raised.answer === 'insufficient') return refuse('insufficient_quota', moneyMessage(bound, raised.leftNano))
  if (raised.answer === 'not-reserved') return refuse('internal_error', 'the reservation is closed already')
  return { ok: true, tenant: { ...rows.tenant, ...raised.account }, booking: raised.booking }
}

function checkKey(key: KeyRow | undefined, secretHash: string, now: number): string | undefined {
  if (!key || !constantTimeEqual(key.secretHash, secretHash)) return 'no such key: check that it was copied whole'
  if (key.revokedAt !== null) return 'this key was revoked: use another, or ask its owner for one'
  if (key.expiresAt !== null && key.expiresAt <= now) return 'this key has expired: create a new one'
  return undefined
}

function refuse(code: Refused['code'], message: string, retryAfterMs: number | null = null): Refused {
  return { ok: false, code, message, retryAfterMs }
}

function moneyMessage(boundNano: number, leftNano: number): string {
  const dollars = (nano: number) => `$${(nano / 1e9).toFixed(6)}`
  return (
    `this request may cost up to ${dollars(boundNano)} and ${dollars(leftNano)} is left: ` +
    'set a smaller max_tokens, or ask the operator for credit'
  )
}

/** The rate card a new tenant starts with, in nano-dollars per token: Mistral's own list price for Small 4. */
export const listPrice: Rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }
