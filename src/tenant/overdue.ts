/**
 * Decides what happens to a reservation whose receipt is overdue. It expires only if every worker was asked and none
 * knows the request, or after one day. Until then the money stays reserved: a tenant may be refused too early, but
 * never exceeds its budget. Pure.
 */
import type { Reservation } from './ledger/ledger.ts'

export interface Known {
  running: ReadonlySet<string>
  owed: ReadonlySet<string>
  /** Whether a worker did not answer or is missing. */
  silent: boolean
}

export type Overdue = { kind: 'expire' } | { kind: 'extend'; expiresAt: number }

/** A worker delivers a pending receipt within seconds. */
const owedMs = 60_000
const runningMs = 5 * 60_000
const silentMs = 5 * 60_000
/** Longer than any worker needs to come back. */
export const overdueMaxMs = 24 * 3_600_000

export function judgeOverdue(reservation: Reservation, known: Known, now: number): Overdue {
  if (now - reservation.openedAt >= overdueMaxMs) return { kind: 'expire' }
  if (known.running.has(reservation.requestId)) return { kind: 'extend', expiresAt: now + runningMs }
  if (known.owed.has(reservation.requestId)) return { kind: 'extend', expiresAt: now + owedMs }
  return known.silent ? { kind: 'extend', expiresAt: now + silentMs } : { kind: 'expire' }
}
