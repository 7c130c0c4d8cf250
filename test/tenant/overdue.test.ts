import { describe, expect, it } from 'vitest'
import { judgeOverdue, overdueMaxMs } from '../../src/tenant/overdue.ts'

const reservation = {
  requestId: 'r',
  keyId: 'k',
  state: 'reserved',
  boundNano: 1,
  boundTokens: 1,
  openedAt: 0,
  expiresAt: 10,
} as const
const none = { running: new Set<string>(), owed: new Set<string>(), silent: false }
const now = 1_000_000

describe('overdue reservations', () => {
  it('[SET1] a reservation expires when every worker was asked and none knows the request', () => {
    expect(judgeOverdue(reservation, none, now)).toEqual({ kind: 'expire' })
  })

  it('[SET2] a reservation is extended while its request runs, its receipt is pending or a worker is silent', () => {
    for (const known of [
      { ...none, running: new Set(['r']) },
      { ...none, owed: new Set(['r']) },
      { ...none, silent: true },
    ]) {
      const judged = judgeOverdue(reservation, known, now)
      if (judged.kind !== 'extend') throw new Error('it expired')
      expect(judged.expiresAt).toBeGreaterThan(now)
      expect(judged.expiresAt).toBeLessThan(now + 10 * 60_000)
    }
  })

  it('[SET3] a reservation expires after one day, even when a worker is still silent', () => {
    expect(judgeOverdue(reservation, { ...none, silent: true }, overdueMaxMs)).toEqual({ kind: 'expire' })
  })
})
