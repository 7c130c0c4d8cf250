import { describe, expect, it } from 'vitest'
import { noLimits } from '../../../src/tenant/limits/limits.ts'
import { openBooks, testOrder, testReceipt } from '../../support/tenant.ts'

/** Bound of a test request; a test receipt costs 600. */
const bound = 1_000
const day = 86_400_000
const dayBudget = (nano: number) => ({ ...noLimits, budgetNano: { total: null, day: nano, month: null } })

describe('budgets and the calendar', () => {
  it('[BKS22] after a clock that ran backwards over midnight, a request counts against the later day', () => {
    const test = openBooks({ creditNano: 100_000, limits: dayBudget(2_500) })
    test.transaction((books) => books.admit(testOrder('a'), day + 5))
    test.transaction((books) => books.admit(testOrder('b'), day - 5))
    test.transaction((books) => books.settle(testReceipt('b'), day - 4))
    expect(test.books.tenant()?.state.windows.day).toEqual({ window: day, postedNano: 600, reservedNano: bound })
    test.transaction((books) => books.close('a', 'void', day + 6))
    expect(test.books.tenant()?.state.windows.day).toEqual({ window: day, postedNano: 600, reservedNano: 0 })
  })

  it('[BKS23] a reservation that is raised after midnight moves to the new day and must fit there', () => {
    const raise = (limit: number) => {
      const test = openBooks({ creditNano: 100_000, limits: dayBudget(limit) })
      test.transaction((books) => books.admit(testOrder('a'), day - 5))
      test.transaction((books) => books.admit(testOrder('b'), day + 5))
      const raised = test.transaction((books) => books.readmit(testOrder('a', { promptTokens: 30 }), day + 6))
      return { raised, window: test.books.tenant()?.state.windows.day }
    }
    expect(raise(2_200)).toMatchObject({ raised: { ok: true, boundNano: 1_200 }, window: { reservedNano: 2_200 } })
    expect(raise(2_199)).toMatchObject({
      raised: { ok: false, code: 'insufficient_quota' },
      window: { reservedNano: bound },
    })
  })

  it('[BKS24] a receipt after its day charges at most what the current day still allows', () => {
    const test = openBooks({ creditNano: 100_000, limits: dayBudget(1_500) })
    test.transaction((books) => books.admit(testOrder('a'), 1))
    test.transaction((books) => books.close('a', 'expire', 2))
    test.transaction((books) => books.admit(testOrder('b'), day + 1))
    expect(test.transaction((books) => books.settle(testReceipt('a'), day + 2))).toBe('late')
    expect(test.books.tenant()?.state.windows.day).toEqual({ window: day, postedNano: 500, reservedNano: bound })
    expect(test.books.store.entries.ofRequest('a').at(-1)).toMatchObject({ cost_nano: 500, short_nano: 100 })
  })
})
