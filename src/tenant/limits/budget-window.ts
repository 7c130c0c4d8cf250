/**
 * A purse holds what was spent, and what may yet be spent by open reservations, in one budget window. A request belongs
 * to the window in which it was admitted, however late it is settled: so a budget of a day is never overshot by answers
 * that end after midnight, and they do not burden the next day.
 */
import { safeInteger } from '../../../backends/model/money.ts'
import { type WindowKind, windowStart } from './calendar.ts'

export interface BudgetWindow {
  /** Begin of the window that the sums are of. */
  window: number
  postedNano: number
  reservedNano: number
}

export function emptyWindow(kind: WindowKind, now: number): BudgetWindow {
  return { window: windowStart(kind, now), postedNano: 0, reservedNano: 0 }
}

/** The purse at `now`: a new window starts empty. A clock that went back stays in the newer window. */
export function openWindow(window: BudgetWindow, kind: WindowKind, now: number): BudgetWindow {
  return windowStart(kind, now) > window.window ? emptyWindow(kind, now) : window
}

export function windowRemaining(window: BudgetWindow, budgetNano: number): number {
  return budgetNano - window.postedNano - window.reservedNano
}

export function hold(window: BudgetWindow, nano: number): BudgetWindow {
  return { ...window, reservedNano: safeInteger(window.reservedNano + nano) }
}

/** Ends a hold of `heldNano` made at `admittedAt`, charging `costNano`. A hold of an older window is forgotten with it. */
export function spend(
  window: BudgetWindow,
  kind: WindowKind,
  admittedAt: number,
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
