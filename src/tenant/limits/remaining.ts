/** The remaining limits of a tenant or key, for reports; null without a limit. */

import { openWindow, windowRemaining } from './budget-window.ts'
import { type WindowKind, windowEnd, type ZonedTime } from './calendar.ts'
import { type LimitState, type Limits, rateLeft } from './limits.ts'

export interface LimitsRemaining {
  requests: { left: number; resetMs: number } | null
  tokens: { left: number; resetMs: number } | null
  concurrent: { running: number; left: number | null }
  budgetNano: Record<WindowKind, BudgetLeft | null>
}

interface BudgetLeft {
  /** The same as `maxNano`. */
  max: number
  maxNano: number
  spentNano: number
  /** Bounds of open reservations. */
  reservedNano: number
  leftNano: number
  /** End of the window in Unix milliseconds; null for the total budget. */
  endsAt: number | null
}

export function limitsRemaining(limits: Limits, state: LimitState, now: ZonedTime): LimitsRemaining {
  const { requestsPerMinute, tokensPerMinute, concurrentMax } = limits
  return {
    requests: rate(state.requests, requestsPerMinute, now.at),
    tokens: rate(state.tokens, tokensPerMinute, now.at),
    concurrent: {
      running: state.running,
      left: concurrentMax === null ? null : Math.max(0, concurrentMax - state.running),
    },
    budgetNano: {
      total: budget(limits, state, 'total', now),
      day: budget(limits, state, 'day', now),
      month: budget(limits, state, 'month', now),
    },
  }
}

function rate(bucket: LimitState['requests'], perMinute: number | null, now: number) {
  const left = rateLeft(bucket, perMinute, now)
  if (left) return { left: left.left, resetMs: left.resetMs }
  return perMinute === null ? null : { left: 0, resetMs: 0 }
}

function budget(limits: Limits, state: LimitState, kind: WindowKind, now: ZonedTime): BudgetLeft | null {
  const max = limits.budgetNano[kind]
  const old = state.windows[kind]
  if (max === null || !old) return null
  const window = openWindow(old, kind, now)
  const ends = windowEnd(kind, now)
  return {
    ...{ max, maxNano: max },
    spentNano: window.postedNano,
    reservedNano: window.reservedNano,
    leftNano: Math.max(0, windowRemaining(window, max)),
    endsAt: Number.isFinite(ends) ? ends : null,
  }
}
