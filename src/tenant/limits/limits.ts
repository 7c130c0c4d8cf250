/**
 * Limits of a tenant or of one of its keys. Both use the same code. A request must pass both, so a key's budget lies
 * within its tenant's.
 *
 * `checkLimits` is all or nothing: a refused request consumes no rate, no budget and no concurrency.
 */

import { type BudgetWindow, emptyWindow, hold, openWindow, spend, windowRemaining } from './budget-window.ts'
import { type WindowKind, windowEnd, windowKinds, windowStart, type ZonedTime } from './calendar.ts'
import { fullBucket, refund, type TokenBucket, take, unitsLeft } from './token-bucket.ts'

/** Null means no limit. */
export interface Limits {
  requestsPerMinute: number | null
  /** Prompt and output tokens together: the upper bound is taken at admission and corrected at settlement. */
  tokensPerMinute: number | null
  concurrentMax: number | null
  budgetNano: { total: number | null; day: number | null; month: number | null }
}

export interface LimitState {
  requests: TokenBucket
  tokens: TokenBucket
  running: number
  /** One for each kind of budget of the tenant or key. */
  windows: BudgetWindows
}

type BudgetWindows = Partial<Record<WindowKind, BudgetWindow>>

/** Upper bound of one request. */
export interface RequestCharge {
  tokens: number
  nano: number
}

export interface LimitRefusal {
  ok: false
  limit: 'requests' | 'tokens' | 'concurrent' | `budget-${WindowKind}`
  /** The limit's value: requests, tokens or nano-dollars. */
  max: number
  /** The unused part of the limit. */
  left: number
  /** Time until the same request would pass, in milliseconds; infinite if waiting does not help. */
  retryAfterMs: number
  /** Of a daily or monthly budget: when it renews, in Unix milliseconds; otherwise null. */
  renewsAt: number | null
}

/** A running request usually ends within this time. */
const concurrentRetryMs = 1_000
/** A tenant's total budget is its credit, which the ledger keeps. */
export const tenantBudgets: readonly WindowKind[] = ['day', 'month']
export const keyBudgets: readonly WindowKind[] = ['total', 'day', 'month']

export const noLimits: Limits = {
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrentMax: null,
  budgetNano: { total: null, day: null, month: null },
}

export function newLimitState(limits: Limits, budgets: readonly WindowKind[], now: ZonedTime): LimitState {
  return {
    requests: fullBucket(limits.requestsPerMinute ?? 0, now.at),
    tokens: fullBucket(limits.tokensPerMinute ?? 0, now.at),
    running: 0,
    windows: Object.fromEntries(budgets.map((kind) => [kind, emptyWindow(kind, now)])),
  }
}

/** The state after a change of limits. A rate that had no limit before begins full. */
export function changeLimits(state: LimitState, before: Limits, after: Limits, now: number): LimitState {
  const filled = (rate: 'requestsPerMinute' | 'tokensPerMinute', bucket: TokenBucket) =>
    before[rate] === null && after[rate] !== null ? fullBucket(after[rate], Math.max(now, bucket.at)) : bucket
  return {
    ...state,
    requests: filled('requestsPerMinute', state.requests),
    tokens: filled('tokensPerMinute', state.tokens),
  }
}

export function checkLimits(
  limits: Limits,
  state: LimitState,
  wanted: RequestCharge,
  now: ZonedTime,
): { ok: true; state: LimitState } | LimitRefusal {
  const { concurrentMax } = limits
  if (concurrentMax !== null && state.running >= concurrentMax) {
    return {
      ok: false,
      limit: 'concurrent',
      max: concurrentMax,
      left: 0,
      retryAfterMs: concurrentRetryMs,
      renewsAt: null,
    }
  }
  const rates = takeLimitRates(limits, state, { requests: 1, tokens: wanted.tokens }, now.at)
  if (!rates.ok) return rates
  const held = holdAll(limits, state.windows, wanted.nano, now)
  if (!held.ok) return held
  return {
    ok: true,
    state: { ...rates.state, running: state.running + 1, windows: held.windows },
  }
}

/** The largest charge that the tokens per minute and the budgets allow now; infinite without a limit. */
export function largestCharge(limits: Limits, state: LimitState, now: ZonedTime): RequestCharge {
  const lefts = eachWindow(state.windows).map(([kind, old]) => leftOf(limits, kind, openWindow(old, kind, now)))
  const { tokensPerMinute } = limits
  return {
    tokens: tokensPerMinute === null ? Number.POSITIVE_INFINITY : unitsLeft(state.tokens, tokensPerMinute, now.at),
    nano: Math.min(Number.POSITIVE_INFINITY, ...lefts),
  }
}

/** Takes from the rates only, for work that is not billed and does not count as a running request. */
export function takeLimitRates(
  limits: Limits,
  state: LimitState,
  wanted: { requests: number; tokens: number },
  now: number,
): { ok: true; state: LimitState } | LimitRefusal {
  const requests = takeFrom('requests', state.requests, limits.requestsPerMinute, wanted.requests, now)
  if (!requests.ok) return requests
  const tokens = takeFrom('tokens', state.tokens, limits.tokensPerMinute, wanted.tokens, now)
  if (!tokens.ok) return tokens
  return { ok: true, state: { ...state, requests: requests.bucket, tokens: tokens.bucket } }
}

/** Holds more money for an admitted request. Checks the budgets only, not the rates and the concurrency. */
export function raiseLimits(
  limits: Limits,
  state: LimitState,
  admittedAt: ZonedTime,
  extraNano: number,
  now: ZonedTime,
): { ok: true; state: LimitState } | LimitRefusal {
  for (const [kind, window] of eachWindow(state.windows)) {
    const left = leftOf(limits, kind, window)
    if (window.window === windowStart(kind, admittedAt) && extraNano > left) return overBudget(limits, kind, left, now)
  }
  return { ok: true, state: { ...state, windows: spendAll(state.windows, admittedAt, -extraNano, 0) } }
}

/**
 * The time that selects the windows of a request: now, or the start of the latest open window if the clock went
 * backwards. Otherwise money held in one window could be released in another.
 */
export function budgetTime(states: readonly LimitState[], now: number): number {
  let latest = now
  for (const { windows } of states)
    for (const kind of windowKinds) latest = Math.max(latest, windows[kind]?.window ?? 0)
  return latest
}

/**
 * Opens the window of every budget at `to`, which must not lie before an open window. A hold of `heldNano` from `from`
 * moves along: if its window is over, the amount is held in the new window.
 */
export function openLimits(state: LimitState, to: ZonedTime, from = to, heldNano = 0): LimitState {
  const open = windowKinds.every((kind) => (state.windows[kind]?.window ?? to.at) >= windowStart(kind, to))
  if (open && heldNano === 0) return state
  const windows: BudgetWindows = {}
  for (const [kind, old] of eachWindow(state.windows)) {
    const window = openWindow(old, kind, to)
    windows[kind] = window.window > windowStart(kind, from) ? hold(window, heldNano) : window
  }
  return { ...state, windows }
}

/**
 * Ends an admitted request: frees its concurrency, returns unused tokens to the rate, and turns its hold into the cost.
 */
export function settleLimits(
  limits: Limits,
  state: LimitState,
  admitted: RequestCharge & { at: ZonedTime },
  used: { tokens: number; costNano: number },
  now: number,
): LimitState {
  // Negative if the prompt was longer than its estimate: then the rest is taken from the rate now.
  const spare = admitted.tokens - used.tokens
  const { tokensPerMinute } = limits
  return {
    requests: state.requests,
    tokens: tokensPerMinute === null ? state.tokens : refund(state.tokens, tokensPerMinute, spare, now),
    running: Math.max(0, state.running - 1),
    windows: spendAll(state.windows, admitted.at, admitted.nano, used.costNano),
  }
}

/** Charges a cost without a hold: a late receipt or a correction. */
export function chargeLimits(state: LimitState, admittedAt: ZonedTime, costNano: number): LimitState {
  return { ...state, windows: spendAll(state.windows, admittedAt, 0, costNano) }
}

/** The smallest remaining budget among the windows in which a request was admitted. */
export function moneyLeft(limits: Limits, state: LimitState, admittedAt: ZonedTime): number {
  const lefts = eachWindow(state.windows)
    .filter(([kind, window]) => window.window === windowStart(kind, admittedAt))
    .map(([kind, window]) => leftOf(limits, kind, window))
  return Math.max(0, Math.min(Number.MAX_SAFE_INTEGER, ...lefts))
}

export interface RateLeft {
  limit: number
  left: number
  /** Time until the rate is full again, in milliseconds. */
  resetMs: number
}

/** The remaining rate, for headers; undefined without a limit. */
export function rateLeft(bucket: TokenBucket, perMinute: number | null, now: number): RateLeft | undefined {
  if (perMinute === null || perMinute <= 0) return undefined
  const left = unitsLeft(bucket, perMinute, now)
  return { limit: perMinute, left, resetMs: Math.ceil(((perMinute - left) * 60_000) / perMinute) }
}

function takeFrom(
  limit: 'requests' | 'tokens',
  bucket: TokenBucket,
  perMinute: number | null,
  units: number,
  now: number,
): { ok: true; bucket: TokenBucket } | LimitRefusal {
  if (perMinute === null) return { ok: true, bucket }
  const taken = take(bucket, perMinute, units, now)
  if (taken.ok) return taken
  const left = unitsLeft(bucket, perMinute, now)
  return { ok: false, limit, max: perMinute, left, retryAfterMs: taken.retryAfterMs, renewsAt: null }
}

function holdAll(
  limits: Limits,
  windows: BudgetWindows,
  nano: number,
  now: ZonedTime,
): { ok: true; windows: BudgetWindows } | LimitRefusal {
  const held: BudgetWindows = {}
  for (const [kind, old] of eachWindow(windows)) {
    const window = openWindow(old, kind, now)
    const left = leftOf(limits, kind, window)
    if (nano > left) return overBudget(limits, kind, left, now)
    held[kind] = hold(window, nano)
  }
  return { ok: true, windows: held }
}

function spendAll(windows: BudgetWindows, admittedAt: ZonedTime, heldNano: number, costNano: number): BudgetWindows {
  return Object.fromEntries(
    eachWindow(windows).map(([kind, window]) => [kind, spend(window, kind, admittedAt, heldNano, costNano)]),
  )
}

function eachWindow(windows: BudgetWindows): [WindowKind, BudgetWindow][] {
  return Object.entries(windows) as [WindowKind, BudgetWindow][]
}

function leftOf(limits: Limits, kind: WindowKind, window: BudgetWindow): number {
  const budget = limits.budgetNano[kind]
  return budget === null ? Number.POSITIVE_INFINITY : windowRemaining(window, budget)
}

function overBudget(limits: Limits, kind: WindowKind, left: number, now: ZonedTime): LimitRefusal {
  const end = windowEnd(kind, now)
  return {
    ok: false,
    limit: `budget-${kind}`,
    max: limits.budgetNano[kind] ?? 0,
    left,
    retryAfterMs: end - now.at,
    renewsAt: Number.isFinite(end) ? end : null,
  }
}
