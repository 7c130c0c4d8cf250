/**
 * What becomes of a reservation whose receipt is overdue. Its money is given back only when nobody can have spent it:
 * every worker that may have run it was asked and knows nothing, or a day has passed. Until then it stays reserved,
 * which may refuse a tenant early and never overshoots. Pure.
 */
import type { Reservation } from '../tenant/ledger/ledger.ts'

export interface Known {
  running: ReadonlySet<string>
  owed: ReadonlySet<string>
  /** A worker could not be asked: it did not answer, or is missing since before now. */
  silent: boolean
}

export type Overdue = { kind: 'expire' } | { kind: 'extend'; expiresAt: number }

/** A receipt that is owed arrives within seconds. */
const owedMs = 60_000
const runningMs = 5 * 60_000
const silentMs = 5 * 60_000
/** Longer than any worker that comes back takes to come back. */
export const overdueMaxMs = 24 * 3_600_000

export function judgeOverdue(reservation: Reservation, known: Known, now: number): Overdue {
  if (now - reservation.openedAt >= overdueMaxMs) return { kind: 'expire' }
  if (known.running.has(reservation.requestId)) return { kind: 'extend', expiresAt: now + runningMs }
  if (known.owed.has(reservation.requestId)) return { kind: 'extend', expiresAt: now + owedMs }
  return known.silent ? { kind: 'extend', expiresAt: now + silentMs } : { kind: 'expire' }
}
