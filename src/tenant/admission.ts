/**
 * Admission: decides from the tenant's rows whether the key is valid, whether the limits of key and tenant allow the
 * request, and whether the credit covers it. Pure; a refusal changes nothing.
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
import type { Tenant } from './store/account-rows.ts'
import type { KeyRow } from './store/key-rows.ts'

export interface AdmissionRequest {
  requestId: string
  keyId: string
  secretHash: string
  model: string
  /** Upper bound of the prompt in tokens: an estimate, or the worker's exact count at the second admission. */
  promptTokens: number
  /** Upper bound of the output in tokens, set by the client or the model's default. */
  outputTokens: number
  /** An effort that the model does not support, so that it would be mapped; otherwise null. */
  unknownEffort: string | null
}

/** Rates taken by work that is not billed, such as counting a prompt. */
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
  /** Null if waiting does not help. */
  retryAfterMs: number | null
  rates: RatesLeft
  /** The field of the request that is refused, without its path: each dialect has its own name for it. */
  field?: 'effort'
}

/** The tighter of the key's and the tenant's rates, for headers. */
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
  /** Whether another request like this one would be refused until this one is settled. */
  settleFirst: boolean
}

/** How long a reservation may stay open before settlement inquires about it: longer than any wait plus any answer. */
export const reservationTtlMs = 15 * 60_000

export interface AdmissionRows {
  tenant: Tenant
  key: KeyRow | undefined
  rates: Rates | undefined
  reservation: Reservation | undefined
}

export function admit(request: AdmissionRequest, rows: AdmissionRows, now: number): Admitted | AdmissionRefusal {
  const { tenant, rates } = rows
  const requesting = requestingKey(request, rows, now)
  if (!requesting.ok) return requesting
  const { key } = requesting
  if (key.models && !key.models.includes(request.model)) {
    return refuse('permission_denied', `This key cannot use model ${request.model}. Allowed: ${key.models.join(', ')}.`)
  }
  if (request.unknownEffort !== null && tenant.settings.effortUnknown === 'reject') {
    const message = `${request.model} does not support "${request.unknownEffort}", and this tenant rejects unsupported values. Use one that the model supports.`
    return { ...refuse('invalid_value', message), field: 'effort' }
  }
  if (!rates)
    return refuse(
      'permission_denied',
      `This tenant has no rate card for ${request.model}. Ask the operator to add one.`,
    )
  const wanted = {
    tokens: request.promptTokens + request.outputTokens,
    nano: boundNano(request.promptTokens, request.outputTokens, rates),
  }
  const byKey = checkLimits(key.limits, key.state, wanted, now)
  if (!byKey.ok) return refuseByLimit(byKey, 'key', wanted.nano, rows, now)
  const byTenant = checkLimits(tenant.limits, tenant.state, wanted, now)
  if (!byTenant.ok) return refuseByLimit(byTenant, 'tenant', wanted.nano, rows, now)
  const { requestId, keyId } = request
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
      `${moneyMessage(wanted.nano, reserved.leftNano, "the tenant's credit")} or ask the operator for credit.`,
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

/** Takes requests and tokens from the rates of a key and its tenant, all or nothing. Budgets stay unchanged. */
export function takeRates(
  request: RateRequest,
  rows: Pick<AdmissionRows, 'tenant' | 'key'>,
  now: number,
): { ok: true; tenant: Tenant; key: KeyRow } | AdmissionRefusal {
  const { tenant } = rows
  const requesting = requestingKey(request, rows, now)
  if (!requesting.ok) return requesting
  const { key } = requesting
  // A fraction of a prompt is not an integer, but a bucket holds only integers.
  const wanted = { requests: Math.max(0, Math.ceil(request.requests)), tokens: Math.max(0, Math.ceil(request.tokens)) }
  const byKey = takeLimitRates(key.limits, key.state, wanted, now)
  if (!byKey.ok) return refuseByLimit(byKey, 'key', 0, rows, now, 'Send a shorter prompt')
  const byTenant = takeLimitRates(tenant.limits, tenant.state, wanted, now)
  if (!byTenant.ok) return refuseByLimit(byTenant, 'tenant', 0, rows, now, 'Send a shorter prompt')
  return {
    ok: true,
    tenant: { ...tenant, state: byTenant.state },
    key: { ...key, state: byKey.state, lastUsedAt: now },
  }
}

/** The key, if it is valid and its role and its tenant's status allow requests. */
function requestingKey(
  { secretHash }: Pick<AdmissionRequest, 'secretHash'>,
  { tenant, key }: Pick<AdmissionRows, 'tenant' | 'key'>,
  now: number,
): { ok: true; key: KeyRow } | AdmissionRefusal {
  const keyFault = checkKey(key, secretHash, now)
  if (!key || keyFault) return refuse('invalid_api_key', keyFault ?? 'API key not found.')
  if (tenant.status === 'suspended') return refuse('permission_denied', suspendedMessage)
  if (may(key.role, 'ask')) return { ok: true, key }
  return refuse(
    'permission_denied',
    `A key with role ${key.role} can only read usage. Use a key with role member or higher.`,
  )
}

/** Second admission: raises an open reservation because the worker counted a longer prompt than estimated. */
export function readmit(
  request: Pick<AdmissionRequest, 'promptTokens' | 'outputTokens'>,
  rows: AdmissionRows & { key: KeyRow; rates: Rates },
  now: number,
): { ok: true; tenant: Tenant; key: KeyRow; reservation: Reservation } | AdmissionRefusal {
  const { tenant, key, reservation, rates } = rows
  if (reservation?.state !== 'reserved') return refuse('internal_error', 'The reservation is already closed.')
  const bound = boundNano(request.promptTokens, request.outputTokens, rates)
  const extra = Math.max(0, bound - reservation.boundNano)
  const byKey = raiseLimits(key.limits, key.state, reservation.openedAt, extra, now)
  if (!byKey.ok) return refuseByLimit(byKey, 'key', bound, rows, now)
  const byTenant = raiseLimits(tenant.limits, tenant.state, reservation.openedAt, extra, now)
  if (!byTenant.ok) return refuseByLimit(byTenant, 'tenant', bound, rows, now)
  const raised = raise(tenant, reservation, bound)
  if (raised.answer === 'insufficient') {
    return refuse(
      'insufficient_quota',
      `${moneyMessage(bound, raised.leftNano, "the tenant's credit")} or ask the operator for credit.`,
    )
  }
  if (raised.answer === 'not-reserved') return refuse('internal_error', 'The reservation is already closed.')
  return {
    ok: true,
    tenant: { ...tenant, ...raised.account, state: byTenant.state },
    key: { ...key, state: byKey.state },
    reservation: raised.reservation,
  }
}

export const suspendedMessage = 'This tenant is suspended. Ask the operator to reactivate it.'

export function checkKey(key: KeyRow | undefined, secretHash: string, now: number): string | undefined {
  if (!key || !hasSecret(key, secretHash, now))
    return 'API key not found. Check that it was copied completely and was not rotated.'
  if (key.revokedAt !== null) return 'This key was revoked. Use another key.'
  if (key.expiresAt !== null && key.expiresAt <= now) return 'This key has expired. Create a new key.'
  return undefined
}

/** Always compares both secrets, so that the response time reveals nothing. */
function hasSecret(key: KeyRow, secretHash: string, now: number): boolean {
  const current = constantTimeEqual(key.secretHash, secretHash)
  const previous = constantTimeEqual(key.previous?.secretHash ?? '', secretHash)
  return current || (previous && key.previous !== null && now < key.previous.until)
}

/** The lower class of the tenant and the key: a key can lower its priority but not raise it. */
export function priorityClassOf({ settings }: Tenant, key: KeyRow): PriorityClass {
  return key.class ?? settings.class
}

/** The remaining rates, the tighter of the key's and the tenant's. */
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
  advice = 'Set a smaller max_tokens',
): AdmissionRefusal {
  const left = ratesLeft(rows, now)
  const never = by.max === 0 || !Number.isFinite(by.retryAfterMs)
  const retryAfterMs = never ? null : by.retryAfterMs
  const wait = never ? '' : `Please try again in ${(by.retryAfterMs / 1_000).toFixed(1)}s`
  switch (by.limit) {
    case 'requests':
      return refuse(
        'rate_limit_exceeded',
        `This ${limited} is limited to ${by.max} requests per minute. ${wait || 'Ask the operator for a larger limit'}.`,
        retryAfterMs,
        left,
      )
    case 'tokens':
      return wait === ''
        ? refuse(
            'rate_limit_exceeded',
            `This ${limited} is limited to ${by.max} tokens per minute, and this request could use more. ${advice}.`,
            null,
            left,
          )
        : refuse(
            'rate_limit_exceeded',
            `This ${limited} is limited to ${by.max} tokens per minute, with ${by.left} remaining. ${wait}, or ${advice.toLowerCase()}.`,
            by.retryAfterMs,
            left,
          )
    case 'concurrent':
      return refuse(
        'rate_limit_exceeded',
        never
          ? `This ${limited} is limited to 0 concurrent requests. Ask the operator for a larger limit.`
          : `This ${limited} is limited to ${by.max} concurrent requests, and all of them are running. Wait until one ends.`,
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
        `${moneyMessage(boundNano, by.left, `the ${name} of this ${limited}`)} or ask for a larger budget.`,
        null,
        left,
      )
    }
  }
}

function moneyMessage(boundNano: number, leftNano: number, budget: string): string {
  const dollars = (nano: number) => `$${(Math.max(0, nano) / 1e9).toFixed(6)}`
  return `This request could cost ${dollars(boundNano)}, but only ${dollars(leftNano)} of ${budget} remains. Set a smaller max_tokens`
}
