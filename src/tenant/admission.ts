/**
 * Admission: decides from the tenant's rows whether the key is valid, whether the limits of key and tenant allow the
 * request, and whether the credit covers it. Pure; a refusal changes nothing.
 */
import { boundNano, outputTokensWithin, type Rates } from '../../backends/model/money.ts'
import type { PriorityClass } from '../fleet/queue/fair-queue.ts'
import {
  type AdmissionRefusal,
  creditTooLow,
  effortNotSupported,
  limitExceeded,
  modelNotAllowed,
  rateCardMissing,
  refuse,
  roleTooLow,
  suspendedMessage,
} from './admission-refusals.ts'
import { checkKey } from './key-validity.ts'
import { leftNano, type Reservation, raise, reserve } from './ledger/ledger.ts'
import {
  checkLimits,
  type LimitRefusal,
  type LimitState,
  largestCharge,
  raiseLimits,
  takeLimitRates,
} from './limits/limits.ts'
import { ratesLeft } from './limits/rates-left.ts'
import { may } from './roles.ts'
import { type Tenant, zoned } from './store/account-rows.ts'
import type { KeyRow } from './store/key-rows.ts'
import { noUsageLabels, type UsageLabels } from './usage/labels.ts'

export interface AdmissionRequest {
  requestId: string
  keyId: string
  secretHash: string
  /** IP address of the client. */
  address?: string | null
  model: string
  /** Upper bound of the prompt in tokens: an estimate, or the worker's exact count at the second admission. */
  promptTokens: number
  /** Upper bound of the output in tokens, set by the client or the model's default. */
  outputTokens: number
  /** The client set no bound: the output may be bounded by what money and rates still allow. */
  mayShorten?: boolean
  /** An effort that the model does not support, so that it would be mapped; otherwise null. */
  unknownEffort: string | null
  /** None unless given. */
  labels?: UsageLabels
}

/** Raises the reservation of a request. */
export type ReadmitOrder = Pick<
  AdmissionRequest,
  'requestId' | 'model' | 'promptTokens' | 'outputTokens' | 'mayShorten'
>

/** Rates taken by work that is not billed, such as counting a prompt. */
export interface RateRequest {
  keyId: string
  secretHash: string
  /** IP address of the client. */
  address?: string | null
  requests: number
  tokens: number
}

export interface AdmissionRows {
  tenant: Tenant
  key: KeyRow | undefined
  rates: Rates | undefined
  reservation: Reservation | undefined
}

export interface Admitted {
  ok: true
  tenant: Tenant
  key: KeyRow
  reservation: Reservation
  rates: Rates
  /** The output that is reserved. */
  outputTokens: number
  /** Whether another request like this one would be refused until this one is settled. */
  settleFirst: boolean
}

/** A reservation that was raised. */
export interface Readmitted {
  ok: true
  kept: false
  tenant: Tenant
  key: KeyRow
  reservation: Reservation
}

/** How long a reservation may stay open before settlement inquires about it: longer than any wait plus any answer. */
export const reservationTtlMs = 15 * 60_000
/** Tokens. A shorter answer is hardly one: the request is refused instead. */
export const shortestOutput = 64

export function admit(request: AdmissionRequest, rows: AdmissionRows, now: number): Admitted | AdmissionRefusal {
  const requesting = requestingKey(request, rows, now)
  if (!requesting.ok) return requesting
  const refused = refuseOptions(request, rows.tenant, requesting.key)
  if (refused) return refused
  const { rates } = rows
  if (!rates) return rateCardMissing(request.model)
  const { promptTokens, requestId, keyId } = request
  const outputTokens = outputBound(request, { ...rows, key: requesting.key }, rates, now)
  const wanted = { tokens: promptTokens + outputTokens, nano: boundNano(promptTokens, outputTokens, rates) }
  const fits = ({ limits, state }: Tenant | KeyRow) => checkLimits(limits, state, wanted, zoned(rows.tenant, now))
  const limited = applyLimits({ ...rows, key: requesting.key }, fits, { boundNano: wanted.nano }, now)
  if (!limited.ok) return limited
  const bounds = { boundNano: wanted.nano, boundTokens: wanted.tokens, expiresAt: now + reservationTtlMs }
  const reserved = reserve(rows.tenant, rows.reservation, { requestId, keyId, ...bounds }, now)
  if (reserved.answer === 'insufficient') return creditTooLow(wanted.nano, reserved.leftNano, ratesLeft(rows, now))
  if (reserved.answer !== 'reserved')
    return refuse('internal_error', `request id ${requestId} is in use (${reserved.answer})`)
  const { account } = reserved
  const details = { model: request.model, ...(request.labels ?? noUsageLabels), failed: false }
  const reservation = { ...reserved.reservation, details }
  const tenant = { ...rows.tenant, ...account, state: limited.tenant.state }
  const key = { ...limited.key, lastUsedAt: now }
  const settleFirst = leftNano(account) < wanted.nano || !fits(key).ok || !fits(tenant).ok
  return { ok: true, tenant, key, reservation, rates, outputTokens, settleFirst }
}

/** The output to reserve. A bound of the client stays as it is, and so does one that would leave almost no answer. */
function outputBound(
  { promptTokens, outputTokens, mayShorten = false }: AdmissionRequest,
  { tenant, key }: { tenant: Tenant; key: KeyRow },
  rates: Rates,
  now: number,
): number {
  if (!mayShorten) return outputTokens
  const charges = [tenant, key].map(({ limits, state }) => largestCharge(limits, state, zoned(tenant, now)))
  const money = Math.min(leftNano(tenant), ...charges.map(({ nano }) => nano))
  const tokens = Math.min(...charges.map((charge) => charge.tokens)) - promptTokens
  const possible = Math.min(outputTokens, tokens, outputTokensWithin(money, promptTokens, rates))
  return possible < shortestOutput ? outputTokens : possible
}

/**
 * Second admission: raises an open reservation because the worker counted a longer prompt than estimated. If it cannot
 * be raised, it stays as it is, provided that the output may be shortened: the worker bounds it by the reserved amount.
 */
export function readmit(
  { promptTokens, outputTokens, mayShorten = false }: Omit<ReadmitOrder, 'requestId' | 'model'>,
  rows: AdmissionRows & { key: KeyRow; rates: Rates },
  now: number,
): Readmitted | { ok: true; kept: true } | AdmissionRefusal {
  const { reservation, rates } = rows
  if (reservation?.state !== 'reserved') return reservationClosed
  const bound = boundNano(promptTokens, outputTokens, rates)
  const extra = Math.max(0, bound - reservation.boundNano)
  const [openedAt, at] = [zoned(rows.tenant, reservation.openedAt), zoned(rows.tenant, now)]
  const fits = ({ limits, state }: Tenant | KeyRow) => raiseLimits(limits, state, openedAt, extra, at)
  const answers = mayShorten && outputTokensWithin(reservation.boundNano, promptTokens, rates) >= shortestOutput
  const limited = applyLimits(rows, fits, { boundNano: bound }, now)
  if (!limited.ok) return answers ? { ok: true, kept: true } : limited
  const raised = raise(rows.tenant, reservation, bound)
  if (raised.answer === 'insufficient') return answers ? { ok: true, kept: true } : creditTooLow(bound, raised.leftNano)
  if (raised.answer === 'not-reserved') return reservationClosed
  const tenant = { ...rows.tenant, ...raised.account, state: limited.tenant.state }
  return { ok: true, kept: false, tenant, key: limited.key, reservation: raised.reservation }
}

/** Takes requests and tokens from the rates of a key and its tenant, all or nothing. Budgets stay unchanged. */
export function takeRates(
  request: RateRequest,
  rows: Pick<AdmissionRows, 'tenant' | 'key'>,
  now: number,
): { ok: true; tenant: Tenant; key: KeyRow } | AdmissionRefusal {
  const requesting = requestingKey(request, rows, now)
  if (!requesting.ok) return requesting
  // A fraction of a prompt is not an integer, but a bucket holds only integers.
  const wanted = { requests: Math.max(0, Math.ceil(request.requests)), tokens: Math.max(0, Math.ceil(request.tokens)) }
  const fits = ({ limits, state }: Tenant | KeyRow) => takeLimitRates(limits, state, wanted, now)
  const asked = { boundNano: 0, advice: 'Send a shorter prompt' }
  const limited = applyLimits({ ...rows, key: requesting.key }, fits, asked, now)
  return limited.ok ? { ...limited, key: { ...limited.key, lastUsedAt: now } } : limited
}

/** The lower class of the tenant and the key: a key can lower its priority but not raise it. */
export function priorityClassOf({ settings }: Tenant, key: KeyRow): PriorityClass {
  return key.class ?? settings.class
}

/** The key, if it is valid and its role and its tenant's status allow requests. */
function requestingKey(
  presented: Pick<AdmissionRequest, 'secretHash' | 'address'>,
  { tenant, key }: Pick<AdmissionRows, 'tenant' | 'key'>,
  now: number,
): { ok: true; key: KeyRow } | AdmissionRefusal {
  const fault = checkKey(key, presented, now)
  if (!key || fault) return fault ? refuse(fault.code, fault.message) : refuse('invalid_api_key', 'API key not found.')
  if (tenant.status === 'suspended') return refuse('permission_denied', suspendedMessage)
  return may(key.role, 'ask') ? { ok: true, key } : roleTooLow(key.role)
}

/** Refuses a model that the key may not use, and an effort that the tenant does not accept. */
function refuseOptions(
  { model, unknownEffort }: AdmissionRequest,
  { settings }: Tenant,
  { models }: KeyRow,
): AdmissionRefusal | undefined {
  if (models && !models.includes(model)) return modelNotAllowed(model, models)
  const rejected = unknownEffort !== null && settings.effortUnknown === 'reject'
  return rejected ? effortNotSupported(model, unknownEffort) : undefined
}

/** Applies the limits of the key, then those of its tenant, all or nothing. */
function applyLimits(
  { tenant, key }: { tenant: Tenant; key: KeyRow },
  fits: (limited: Tenant | KeyRow) => { ok: true; state: LimitState } | LimitRefusal,
  { boundNano, advice = 'Set a smaller max_tokens' }: { boundNano: number; advice?: string },
  now: number,
): { ok: true; tenant: Tenant; key: KeyRow } | AdmissionRefusal {
  const refusedBy = (limited: 'key' | 'tenant', by: LimitRefusal) =>
    limitExceeded({ limited, by, boundNano, advice, rates: ratesLeft({ tenant, key }, now) })
  const byKey = fits(key)
  if (!byKey.ok) return refusedBy('key', byKey)
  const byTenant = fits(tenant)
  if (!byTenant.ok) return refusedBy('tenant', byTenant)
  return { ok: true, tenant: { ...tenant, state: byTenant.state }, key: { ...key, state: byKey.state } }
}

const reservationClosed = refuse('internal_error', 'The reservation is already closed.')
