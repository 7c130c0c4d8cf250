/**
 * Decides which levels an amount has newly reached. A mark remembers the highest level that raised an alert, so each
 * level of a subject raises one alert in each window, however often requests and refunds cross it. Pure.
 */
import type { WindowKind } from '../limits/calendar.ts'
import type { LimitState, Limits } from '../limits/limits.ts'

export interface AlertMark {
  /** What is watched, such as `tenant:day` or `key:k1:total`. */
  subject: string
  /** The start of the budget's window in Unix milliseconds, or another number that begins the levels again. */
  window: number
  /** The budget; another one begins the levels again. 0 without a budget. */
  limitNano: number
  /** The number of levels that raised an alert. */
  levels: number
}

/** A budget of a tenant or key, with the amount that was spent of it. */
export interface WatchedBudget {
  period: WindowKind
  budgetNano: number
  spentNano: number
  windowStart: number
}

export function watchedBudgets(limits: Limits, state: LimitState): WatchedBudget[] {
  return (['total', 'day', 'month'] as const).flatMap((period) => {
    const budgetNano = limits.budgetNano[period]
    const window = state.windows[period]
    if (budgetNano === null || !window) return []
    return [{ period, budgetNano, spentNano: window.postedNano, windowStart: window.window }]
  })
}

/** The shares, in ascending order, of which the spent amount has reached so many. A budget of 0 is spent at once. */
export function sharesReached({ budgetNano, spentNano }: WatchedBudget, shares: readonly number[]): number {
  return shares.filter((share) => spentNano >= budgetNano * share).length
}

/** The thresholds, in descending order, of which so many are above the credit that remains. */
export function thresholdsPassed(leftNano: number, thresholds: readonly number[]): number {
  return thresholds.filter((threshold) => leftNano < threshold).length
}

/**
 * The levels that are newly reached, as a range of indices, and the mark to store; undefined if nothing changes.
 *
 * @param falls whether a lower amount reaches its levels again: credit that was topped up, but no budget with a refund
 */
export function newLevels(
  mark: AlertMark | undefined,
  now: AlertMark,
  falls: boolean,
): { from: number; mark: AlertMark } | undefined {
  const from = mark?.window === now.window && mark.limitNano === now.limitNano ? mark.levels : 0
  if (now.levels > from) return { from, mark: now }
  return falls && now.levels < from ? { from: now.levels, mark: now } : undefined
}
