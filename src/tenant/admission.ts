/**
 * Admission, decided in one step from the tenant's rows: is the key good, do its and its tenant's limits allow the
 * request, does the money suffice. Pure; a refusal changes nothing.
 */
import { boundNano, type Rates } from '../../backends/model/money.ts'
import { constantTimeEqual } from '../auth/secret.ts'
import type { PriorityClass } from '../fleet/queue/fair-queue.ts'
import { leftNano, type Reservation, raise, reserve } from './ledger/ledger.ts'
import {
  checkLimits,
  type LimitRefusal,
  type RateLeft,
  raiseLimits,
  rateLeft,
  takeLimitRates,
} from './limits/limits.ts'
import { may } from './roles.ts'
import type { KeyRow, Tenant } from './store.ts'

export interface AdmissionRequest {
  requestId: string
  keyId: string
  secretHash: string
  model: string
  /** Upper bound on the prompt, in tokens: an estimate, or the worker's exact count when it is asked a second time. */
  promptTokens: number
  /** Upper bound on the output that the client or the model's default sets, in tokens. */
  outputTokens: number
  /** An effort word that the model has no level for, and that would be mapped; null where there is none. */
  unknownEffort: string | null
}

/** What work takes that costs no money, such as counting a prompt. */
export interface RateRequest {
  keyId: string
  secretHash: string
  requests: number
  tokens: number
}

type RefusalCode =
  | 'invalid_api_key'
  | 'rate_limit_exceeded'
  | 'insufficient_quota'
  | 'permission_denied'
  | 'invalid_value'
  | 'internal_error'

export interface AdmissionRefusal {
  ok: false
  code: RefusalCode
  message: string
  /** Null where waiting does not help. */
  retryAfterMs: number | null
  rates: RatesLeft
}

/** The tightest of the key's and the tenant's rates, for headers. */
export interface RatesLeft {
  requests?: RateLeft
  tokens?: RateLeft
}

export interface Admitted {
  ok: true
  tenant: Tenant
  key: KeyRow
  reservation: Reservation
  rates: Rates
  /** Another request like this one would be refused as long as this one is not settled. */
  settleFirst: boolean
}

/** How long a reservation may stay open before it is looked into: longer than any queue plus any answer. */
export const reservationTtlMs = 15 * 60_000

export interface AdmissionRows {
  tenant: Tenant
  key: KeyRow | undefined
  rates: Rates | undefined
  reservation: Reservation | undefined
}

export function admit(order: AdmissionRequest, rows: AdmissionRows, now: number): Admitted | AdmissionRefusal {
  const { tenant, rates } = rows
  const asking = askingKey(order, rows, now)
  if (!asking.ok) return asking
  const { key } = asking
  if (key.models && !key.models.includes(order.model)) {
    return refuse('permission_denied', `this key may not ask ${order.model}: it is for ${key.models.join(', ')}`)
  }
  if (order.unknownEffort !== null && tenant.settings.effortUnknown === 'reject') {
    const message = `reasoning_effort: ${order.model} has no level "${order.unknownEffort}", and this tenant wants no other in its place`
    return refuse('invalid_value', message)
  }
  if (!rates)
    return refuse('permission_denied', `this tenant has no rate card for ${order.model}: ask the operator for one`)
  const wanted = {
    tokens: order.promptTokens + order.outputTokens,
    nano: boundNano(order.promptTokens, order.outputTokens, rates),
  }
  const byKey = checkLimits(key.limits, key.state, wanted, now)
  if (!byKey.ok) return refuseByLimit(byKey, 'key', wanted.nano, rows, now)
  const byTenant = checkLimits(tenant.limits, tenant.state, wanted, now)
  if (!byTenant.ok) return refuseByLimit(byTenant, 'tenant', wanted.nano, rows, now)
  const { requestId, keyId } = order
  const reservation = {
    requestId,
    keyId,
    boundNano: wanted.nano,
    boundTokens: wanted.tokens,
    expiresAt: now + reservationTtlMs,
  }
  const reserved = reserve(tenant, rows.reservation, reservation, now)
  if (reserved.answer === 'insufficient') {
    return refuse(
      'insufficient_quota',
      `${moneyMessage(wanted.nano, reserved.leftNano)}, or ask the operator for credit`,
      null,
      ratesLeft(rows, now),
    )
  }
  if (reserved.answer !== 'reserved')
    return refuse('internal_error', `request id ${requestId} is in use (${reserved.answer})`)
  return {
    ok: true,
    tenant: { ...tenant, ...reserved.account, state: byTenant.state },
    key: { ...key, state: byKey.state, lastUsedAt: now },
    reservation: reserved.reservation,
    rates,
    settleFirst:
      leftNano(reserved.account) < wanted.nano ||
      !checkLimits(key.limits, byKey.state, wanted, now).ok ||
      !checkLimits(tenant.limits, byTenant.state, wanted, now).ok,
  }
}

/** Takes requests and tokens from the rates of a key and its tenant, all or nothing. Money and slots stay as they are. */
export function takeRates(
  order: RateRequest,
  rows: Pick<AdmissionRows, 'tenant' | 'key'>,
  now: number,
): { ok: true; tenant: Tenant; key: KeyRow } | AdmissionRefusal {
  const { tenant } = rows
  const asking = askingKey(order, rows, now)
  if (!asking.ok) return asking
  const { key } = asking
  // A share of a prompt is no whole number, and a bucket holds nothing else.
  const wanted = { requests: Math.max(0, Math.ceil(order.requests)), tokens: Math.max(0, Math.ceil(order.tokens)) }
  const byKey = takeLimitRates(key.limits, key.state, wanted, now)
  if (!byKey.ok) return refuseByLimit(byKey, 'key', 0, rows, now, 'send a shorter prompt')
  const byTenant = takeLimitRates(tenant.limits, tenant.state, wanted, now)
  if (!byTenant.ok) return refuseByLimit(byTenant, 'tenant', 0, rows, now, 'send a shorter prompt')
  return {
    ok: true,
    tenant: { ...tenant, state: byTenant.state },
    key: { ...key, state: byKey.state, lastUsedAt: now },
  }
}

/** The key, where it is good and its role and its tenant's status let it ask. */
function askingKey(
  { secretHash }: Pick<AdmissionRequest, 'secretHash'>,
  { tenant, key }: Pick<AdmissionRows, 'tenant' | 'key'>,
  now: number,
): { ok: true; key: KeyRow } | AdmissionRefusal {
  const keyFault = checkKey(key, secretHash, now)
  if (!key || keyFault) return refuse('invalid_api_key', keyFault ?? 'no such key')
  if (tenant.status === 'suspended') return refuse('permission_denied', suspendedMessage)
  if (may(key.role, 'ask')) return { ok: true, key }
  return refuse('permission_denied', `a key of role ${key.role} reads usage only: use one of role member or above`)
}

/** The second and last word on an open reservation: the worker counted a longer prompt than was reserved for. */
export function readmit(
  order: Pick<AdmissionRequest, 'promptTokens' | 'outputTokens'>,
  rows: AdmissionRows & { key: KeyRow; rates: Rates },
  now: number,
): { ok: true; tenant: Tenant; key: KeyRow; reservation: Reservation } | AdmissionRefusal {
  const { tenant, key, reservation, rates } = rows
  if (reservation?.state !== 'reserved') return refuse('internal_error', 'the reservation is closed already')
  const bound = boundNano(order.promptTokens, order.outputTokens, rates)
  const extra = Math.max(0, bound - reservation.boundNano)
  const byKey = raiseLimits(key.limits, key.state, reservation.openedAt, extra, now)
  if (!byKey.ok) return refuseByLimit(byKey, 'key', bound, rows, now)
  const byTenant = raiseLimits(tenant.limits, tenant.state, reservation.openedAt, extra, now)
  if (!byTenant.ok) return refuseByLimit(byTenant, 'tenant', bound, rows, now)
  const raised = raise(tenant, reservation, bound)
  if (raised.answer === 'insufficient') {
    return refuse('insufficient_quota', `${moneyMessage(bound, raised.leftNano)}, or ask the operator for credit`)
  }
  if (raised.answer === 'not-reserved') return refuse('internal_error', 'the reservation is closed already')
  return {
    ok: true,
    tenant: { ...tenant, ...raised.account, state: byTenant.state },
    key: { ...key, state: byKey.state },
    reservation: raised.reservation,
  }
}

export const suspendedMessage = 'this tenant is suspended: ask the operator to reactivate it'

export function checkKey(key: KeyRow | undefined, secretHash: string, now: number): string | undefined {
  if (!key || !hasSecret(key, secretHash, now))
    return 'no such key: check that it was copied whole, and was not rotated'
  if (key.revokedAt !== null) return 'this key was revoked: use another, or ask its owner for one'
  if (key.expiresAt !== null && key.expiresAt <= now) return 'this key has expired: create a new one'
  return undefined
}

/** Both secrets are compared, whichever matches, so that the time tells nothing. */
function hasSecret(key: KeyRow, secretHash: string, now: number): boolean {
  const current = constantTimeEqual(key.secretHash, secretHash)
  const previous = constantTimeEqual(key.previous?.secretHash ?? '', secretHash)
  return current || (previous && key.previous !== null && now < key.previous.until)
}

/** The lower of the tenant's and the key's: a key can give preference away, not take it. */
export function priorityClassOf({ settings }: Tenant, key: KeyRow): PriorityClass {
  return key.class ?? settings.class
}

/** What is left of the rates, the tighter of the key's and the tenant's. */
export function ratesLeft(rows: { tenant: Tenant; key: KeyRow | undefined }, now: number): RatesLeft {
  const { tenant, key } = rows
  const requests = tighter(requestsLeft(tenant, now), key && requestsLeft(key, now))
  const tokens = tighter(tokensLeft(tenant, now), key && tokensLeft(key, now))
  return { ...(requests && { requests }), ...(tokens && { tokens }) }
}

function requestsLeft({ limits, state }: Tenant | KeyRow, now: number): RateLeft | undefined {
  return rateLeft(state.requests, limits.requestsPerMinute, now)
}

function tokensLeft({ limits, state }: Tenant | KeyRow, now: number): RateLeft | undefined {
  return rateLeft(state.tokens, limits.tokensPerMinute, now)
}

function tighter(a: RateLeft | undefined, b: RateLeft | undefined): RateLeft | undefined {
  return a && b ? (b.left < a.left ? b : a) : (a ?? b)
}

function refuse(
  code: RefusalCode,
  message: string,
  retryAfterMs: number | null = null,
  rates: RatesLeft = {},
): AdmissionRefusal {
  return { ok: false, code, message, retryAfterMs, rates }
}

function refuseByLimit(
  by: LimitRefusal,
  limited: 'key' | 'tenant',
  boundNano: number,
  rows: Pick<AdmissionRows, 'tenant' | 'key'>,
  now: number,
  advice = 'set a smaller max_tokens',
): AdmissionRefusal {
  const left = ratesLeft(rows, now)
  const never = by.max === 0 || !Number.isFinite(by.retryAfterMs)
  const retryAfterMs = never ? null : by.retryAfterMs
  const wait = never ? '' : `please try again in ${(by.retryAfterMs / 1_000).toFixed(1)}s`
  switch (by.limit) {
    case 'requests':
      return refuse(
        'rate_limit_exceeded',
        `this ${limited} may send ${by.max} requests a minute: ${wait || 'ask for a larger limit'}`,
        retryAfterMs,
        left,
      )
    case 'tokens':
      return wait === ''
        ? refuse(
            'rate_limit_exceeded',
            `this ${limited} may use ${by.max} tokens a minute, and this request may take more: ${advice}`,
            null,
            left,
          )
        : refuse(
            'rate_limit_exceeded',
            `this ${limited} may use ${by.max} tokens a minute, ${by.left} are left: ${wait}, or ${advice}`,
            by.retryAfterMs,
            left,
          )
    case 'concurrent':
      return refuse(
        'rate_limit_exceeded',
        never
          ? `this ${limited} may run 0 requests at once: ask for a larger limit`
          : `this ${limited} may run ${by.max} requests at once, and they are running: wait for one to end`,
        retryAfterMs,
        left,
      )
    case 'budget-total':
    case 'budget-day':
    case 'budget-month': {
      const name = { 'budget-total': 'budget', 'budget-day': 'daily budget', 'budget-month': 'monthly budget' }[
        by.limit
      ]
      return refuse(
        'insufficient_quota',
        `the ${name} of this ${limited}: ${moneyMessage(boundNano, by.left)}, or ask for a larger one`,
        null,
        left,
      )
    }
  }
}

function moneyMessage(boundNano: number, leftNano: number): string {
  const dollars = (nano: number) => `$${(Math.max(0, nano) / 1e9).toFixed(6)}`
  return `this request may cost up to ${dollars(boundNano)} and ${dollars(leftNano)} is left; set a smaller max_tokens`
}

/** The rate card, in a tenant's own list, for a model that a hosted API answers for: without it, none does. */
export function hostedCard(model: string): string {
  return `hosted:${model}`
}

/** The rate card a new tenant starts with, in nano-dollars per token: Mistral's own list price for Small 4. */
export const listPrice: Rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }
