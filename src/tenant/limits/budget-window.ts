/**
 * A budget window: the sums of posted and reserved cost in one day, month or in total. A request counts in the window
 * in which it was admitted, however late it settles. So answers that end after midnight neither exceed the day's budget
 * nor count against the next day.
 */
import { safeInteger } from '../../../backends/model/money.ts'
import { type WindowKind, windowStart, type ZonedTime } from './calendar.ts'

export interface BudgetWindow {
  /** Start of the window, in Unix milliseconds. */
  window: number
  postedNano: number
  reservedNano: number
}

export function emptyWindow(kind: WindowKind, now: ZonedTime): BudgetWindow {
  return { window: windowStart(kind, now), postedNano: 0, reservedNano: 0 }
}

/** The window at `now`: a new window starts empty. If the clock went backwards, the newer window stays open. */
export function openWindow(window: BudgetWindow, kind: WindowKind, now: ZonedTime): BudgetWindow {
  return windowStart(kind, now) > window.window ? emptyWindow(kind, now) : window
}

export function windowRemaining(window: BudgetWindow, budgetNano: number): number {
  return budgetNano - window.postedNano - window.reservedNano
}

export function hold(window: BudgetWindow, nano: number): BudgetWindow {
  return { ...window, reservedNano: safeInteger(window.reservedNano + nano) }
}

/** Ends a hold of `heldNano` from `admittedAt` and charges `costNano`. No effect if that window is already over. */
export function spend(
  window: BudgetWindow,
  kind: WindowKind,
  admittedAt: ZonedTime,
  heldNano: number,
  costNano: number,
): BudgetWindow {
  if (window.window > windowStart(kind, admittedAt)) return window
  return {
    ...window,
    postedNano: safeInteger(window.postedNano + costNano),
    reservedNano: safeInteger(window.reservedNano - heldNano),
  }
}
