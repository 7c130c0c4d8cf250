/** The copy of a tenant's usage for reports over all tenants. */
import { describe, expect, it } from 'vitest'
import type { UsageDay } from '../../src/tenant/store/usage-rows.ts'
import { copyUsage, copyUsageEveryMs } from '../../src/tenant/usage/usage-days.ts'
import { openBooks, testOrder, testReceipt } from '../support/tenant.ts'

const day = 86_400_000

describe('the copy of usage', () => {
  it('[FLU1] each copy has the whole sums of the days that may have changed, and a failed one is repeated', async () => {
    const test = openBooks({ creditNano: 1e9 })
    const copied = new Map<string, UsageDay>()
    let broken = false
    let rows = 0
    const parts = {
      account: test.books,
      transactions: { transaction: <Result>(work: () => Result) => test.transaction(work) } as never,
      write: async (_: string, days: readonly UsageDay[]) => {
        if (broken) throw new Error('the database is unavailable')
        rows += days.length
        for (const each of days) copied.set(`${each.day} ${each.outcome}`, each)
      },
    }
    const use = (id: string, now: number) => {
      test.transaction((books) => books.admit(testOrder(id), now))
      test.transaction((books) => books.settle(testReceipt(id), now))
    }
    const total = () => [...copied.values()].reduce((sum, { cost_nano }) => sum + cost_nano, 0)
    for (let index = 0; index < 1_200; index++) use(`r${index}`, day * (20_000 + index))
    let now = day * 21_200
    let pages = 0
    for (let next: number | undefined = now; next !== undefined; pages++) {
      next = await copyUsage(parts, now)
      now = next ?? now
    }
    expect([pages, total()]).toEqual([2, 1_200 * 600])
    use('s', now + 1)
    expect(await copyUsage(parts, now + 2)).toBe(now + copyUsageEveryMs)
    now += copyUsageEveryMs
    broken = true
    expect(await copyUsage(parts, now)).toBe(now + copyUsageEveryMs)
    broken = false
    rows = 0
    expect(await copyUsage(parts, now)).toBeUndefined()
    expect(total()).toBe(1_201 * 600)
    // The day of the last copy and the day before, not all of them.
    expect(rows).toBeLessThanOrEqual(4)
    rows = 0
    expect(await copyUsage(parts, now + day)).toBeUndefined()
    expect(rows).toBe(0)
  })
})
