import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type MoneyEntry, postMoney } from '../../src/tenant/credits.ts'
import { noLimits } from '../../src/tenant/limits/limits.ts'
import { verifyBooks } from '../../src/tenant/verify.ts'
import { openBooks, testKey, testOrder, testReceipt } from '../support/tenant.ts'

const bound = 1_000
const day = 86_400_000

describe('ledger of a tenant', () => {
  it('[BKS1] the same receipts in any order and number, before or after expiry, give the same totals', () => {
    const ids = ['a', 'b', 'c', 'd']
    const script = fc.array(fc.record({ id: fc.constantFrom(...ids), expire: fc.boolean() }), {
      minLength: 4,
      maxLength: 30,
    })
    fc.assert(
      fc.property(script, (steps) => {
        const test = openBooks({ creditNano: 1_000_000 })
        for (const id of ids) test.transaction((books) => books.admit(testOrder(id), 1))
        for (const { id, expire } of steps) {
          test.transaction((books) => (expire ? books.close(id, 'expire', 5) : books.settle(testReceipt(id), 6)))
        }
        for (const id of ids) test.transaction((books) => books.settle(testReceipt(id), 7))
        expect(test.books.tenant()).toMatchObject({ postedNano: 4 * 600, reservedNano: 0, state: { running: 0 } })
        expect(test.books.store.entries.totals()).toMatchObject({ output_tokens: 20, prompt_tokens: 40 })
        expect(verifyBooks(test.books.store).faults).toEqual([])
      }),
      { numRuns: 60 },
    )
  })

  it('[BKS2] neither the budget of a key nor that of its tenant is ever exceeded, in any window', () => {
    const budgets = { total: 9_000, day: 3_500, month: 6_200 }
    const limits = { ...noLimits, budgetNano: { total: null, day: 5_000, month: 9_900 } }
    const event = fc.record({
      kind: fc.constantFrom('admit', 'settle', 'void', 'expire', 'evict', 'wait'),
      key: fc.constantFrom('k', 'l'),
      request: fc.nat(11),
      output: fc.integer({ min: 0, max: 9 }),
      hours: fc.nat(40),
    })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), (events) => {
        const test = openBooks({
          creditNano: 20_000,
          limits,
          keys: [testKey('k', { ...noLimits, budgetNano: budgets }), testKey('l')],
        })
        let now = 1
        let serial = 0
        for (const each of events) {
          const requestId = `r${each.request}`
          if (each.kind === 'wait') now += each.hours * 3_600_000
          else if (each.kind === 'evict') test.evict()
          else if (each.kind === 'admit')
            test.transaction((books) => books.admit(testOrder(`r${serial++ % 12}`, { keyId: each.key }), now))
          else if (each.kind === 'settle') {
            const counts = { promptTokens: 10, cachedTokens: 0, outputTokens: each.output, reasoningTokens: 0 }
            test.transaction((books) =>
              books.settle(testReceipt(requestId, { counts, costNano: 100 + each.output * 100 }), now),
            )
          } else test.transaction((books) => books.close(requestId, each.kind === 'void' ? 'void' : 'expire', now))
          const tenant = test.books.tenant()
          const key = test.books.key('k')
          if (!tenant || !key) throw new Error('lost')
          const used = (window?: { postedNano: number; reservedNano: number }) =>
            (window?.postedNano ?? 0) + (window?.reservedNano ?? 0)
          expect(tenant.postedNano + tenant.reservedNano).toBeLessThanOrEqual(20_000)
          expect(used(tenant.state.windows.day)).toBeLessThanOrEqual(5_000)
          expect(used(tenant.state.windows.month)).toBeLessThanOrEqual(9_900)
          expect(used(key.state.windows.total)).toBeLessThanOrEqual(9_000)
          expect(used(key.state.windows.day)).toBeLessThanOrEqual(3_500)
          expect(used(key.state.windows.month)).toBeLessThanOrEqual(6_200)
          for (const window of Object.values(key.state.windows)) expect(window.reservedNano).toBeGreaterThanOrEqual(0)
        }
        expect(verifyBooks(test.books.store).faults).toEqual([])
      }),
      { numRuns: 150 },
    )
  })

  it('[BKS3] a request counts against the day of its admission, also when it settles after midnight', () => {
    const limits = { ...noLimits, budgetNano: { total: null, day: 1_500, month: null } }
    const test = openBooks({ creditNano: 100_000, limits })
    expect(test.transaction((books) => books.admit(testOrder('a'), day - 10)).ok).toBe(true)
    expect(test.transaction((books) => books.admit(testOrder('b'), day - 5))).toMatchObject({
      ok: false,
      code: 'insufficient_quota',
    })
    expect(test.transaction((books) => books.admit(testOrder('c'), day + 5)).ok).toBe(true)
    test.transaction((books) => books.settle(testReceipt('a'), day + 10))
    expect(test.books.tenant()?.state.windows.day).toMatchObject({ postedNano: 0, reservedNano: bound })
    expect(test.books.tenant()).toMatchObject({ postedNano: 600, reservedNano: bound })
  })

  it('[BKS4] admission takes the bound from the token rate, and settlement returns the unused tokens', () => {
    const limits = { ...noLimits, tokensPerMinute: 40 }
    const test = openBooks({ creditNano: 100_000, limits })
    expect(test.transaction((books) => books.admit(testOrder('a'), 1)).ok).toBe(true)
    expect(test.transaction((books) => books.admit(testOrder('b'), 1)).ok).toBe(true)
    expect(test.transaction((books) => books.admit(testOrder('c'), 1))).toMatchObject({
      ok: false,
      code: 'rate_limit_exceeded',
    })
    // 19 were reserved and 15 used: four are returned, so the bucket holds six.
    test.transaction((books) => books.settle(testReceipt('a'), 1))
    expect(test.transaction((books) => books.admit(testOrder('c', { promptTokens: 1, outputTokens: 5 }), 1)).ok).toBe(
      true,
    )
    expect(test.transaction((books) => books.admit(testOrder('d', { promptTokens: 1, outputTokens: 0 }), 1)).ok).toBe(
      false,
    )
  })

  it('[BKS5] a refused request consumes nothing, not even from the limits that it passed', () => {
    const limits = { ...noLimits, requestsPerMinute: 10, tokensPerMinute: 1_000, concurrentMax: 5 }
    const test = openBooks({ creditNano: bound - 1, limits })
    const before = structuredClone([test.books.tenant(), test.books.key('k')])
    for (let index = 0; index < 20; index++) {
      expect(test.transaction((books) => books.admit(testOrder(`r${index}`), 1))).toMatchObject({
        ok: false,
        code: 'insufficient_quota',
      })
    }
    expect([test.books.tenant(), test.books.key('k')]).toEqual(before)
    expect(test.books.store.entries.totals()).toMatchObject({ entries: 1 })
  })

  it('[BKS28] a correction has the labels of its request, counts in usage, and restores the budgets of its day', () => {
    const limits = { ...noLimits, budgetNano: { total: 2_000, day: 2_000, month: null } }
    const test = openBooks({ creditNano: 100_000, keys: [testKey('k', limits)], limits: { ...noLimits } })
    test.transaction((books) => books.admit(testOrder('a'), day))
    test.transaction((books) => books.settle(testReceipt('a'), day + 1))
    const left = () => {
      const key = test.books.key('k')
      return key && [key.state.windows.day?.postedNano, key.state.windows.total?.postedNano]
    }
    expect(left()).toEqual([600, 600])
    test.transaction((books) => books.correct('a', -400, 'goodwill', day + 2))
    expect(left()).toEqual([200, 200])
    // The request of the next day opens its window. The refund of the day before changes only the total.
    test.transaction((books) => books.admit(testOrder('b'), 2 * day))
    test.transaction((books) => books.settle(testReceipt('b'), 2 * day + 1))
    test.transaction((books) => books.correct('a', -200, 'the rest', 2 * day + 2))
    expect(left()).toEqual([600, 600])
    expect(test.transaction((books) => books.correct('a', -1, 'one more', 2 * day + 3))).toBe(0)
    const corrections = test.books.store.entries.after(0, 20).filter(({ entry }) => entry.kind === 'correction')
    expect(corrections.map(({ labels }) => [labels.keyId, labels.model, labels.pool, labels.note])).toEqual([
      ['k', 'm', 'latency', 'goodwill'],
      ['k', 'm', 'latency', 'the rest'],
    ])
    const usage = test.db.prepare('SELECT sum(cost_nano) AS cost, sum(requests) AS requests FROM usage_quarters').get()
    expect(usage).toMatchObject({ cost: test.books.tenant()?.postedNano, requests: 2 })
    expect(verifyBooks(test.books.store).faults).toEqual([])
  })

  it('[BKS29] a reversal takes back the rest of its credit, once per id, and is no usage', () => {
    const test = openBooks({ creditNano: 1_000 })
    const order = { requestId: null, creditId: null, note: 'x' }
    const post = (entry: Pick<MoneyEntry, 'orderId' | 'kind' | 'amountNano'> & Partial<MoneyEntry>) =>
      test.transaction((books) => postMoney(books, { ...order, ...entry }, 5))
    expect(post({ orderId: 'c1', kind: 'credit', amountNano: 5_000 })).toMatchObject({ ok: true })
    const reversal = { orderId: 'r1', kind: 'reversal', creditId: 'c1', amountNano: 4_000 } as const
    expect(post(reversal)).toMatchObject({ ok: true, value: { repeated: false } })
    expect(post(reversal)).toMatchObject({ ok: true, value: { repeated: true } })
    expect(post({ ...reversal, orderId: 'r2' })).toMatchObject({ ok: false, message: expect.stringContaining('1000') })
    expect(post({ ...reversal, orderId: 'r3', creditId: 'r1' })).toMatchObject({ ok: false, code: 'not_found' })
    test.transaction((books) => books.admit(testOrder('a', { outputTokens: 12 }), 6))
    // 1,300 of the remaining 2,000 are reserved.
    expect(post({ ...reversal, orderId: 'r4', amountNano: 701 })).toMatchObject({ ok: false, code: 'invalid_value' })
    expect(post({ ...reversal, orderId: 'r5', amountNano: 700 })).toMatchObject({ ok: true })
    expect(test.books.tenant()).toMatchObject({ creditNano: 1_300, postedNano: 0 })
    expect(test.db.prepare('SELECT count(*) AS rows FROM usage_quarters').get()).toEqual({ rows: 0 })
    expect(verifyBooks(test.books.store).faults).toEqual([])
  })

  it('[BKS6] corrections and credits are new entries, and cannot refund more than was spent', () => {
    const test = openBooks({ creditNano: 2_000 })
    test.transaction((books) => books.admit(testOrder('a'), 1))
    test.transaction((books) => books.settle(testReceipt('a'), 2))
    expect(test.transaction((books) => books.correct('a', -601, 'too much', 3))).toBe(600)
    expect(test.transaction((books) => books.correct('a', -100, 'goodwill', 3))).toBeUndefined()
    expect(test.transaction((books) => books.correct(null, 1_501, 'too much', 3))).toBe(1_500)
    test.transaction((books) => books.credit(5_000, 'invoice 7', 4))
    expect(test.books.tenant()).toMatchObject({ postedNano: 500, creditNano: 7_000 })
    expect(test.books.store.entries.after(0, 10).map(({ entry }) => entry.kind)).toEqual([
      'credit',
      'post',
      'correction',
      'credit',
    ])
    expect(verifyBooks(test.books.store).faults).toEqual([])
  })

  it('[BKS7] verification finds a changed value, a missing entry, a foreign entry and a changed balance', () => {
    const tampering: [string, RegExp][] = [
      ['UPDATE entries SET cost_nano = cost_nano - 1 WHERE seq = 3', /entry 3 was changed/],
      ['UPDATE entries SET output_tokens = NULL, prompt_tokens = NULL WHERE seq = 3', /entry 3 was changed/],
      [`UPDATE entries SET request_id = 'other' WHERE seq = 2`, /entry 2 was changed/],
      ['DELETE FROM entries WHERE seq = 3', /entries 3 to 3 are missing/],
      ['DELETE FROM entries WHERE seq = 6', /is at entry 6, but the entries end at 5/],
      ['UPDATE account SET posted_nano = posted_nano - 600', /posted: the entries add up to/],
      ['UPDATE account SET credit_nano = credit_nano + 1', /credit: the entries add up to/],
      ['UPDATE reservations SET bound_nano = 1', /reserved: the entries add up to/],
      ['DELETE FROM reservations', /reserved: the entries add up to/],
    ]
    for (const [statement, fault] of tampering) {
      const test = openBooks({ creditNano: 100_000 })
      for (const id of ['a', 'b', 'c', 'd']) {
        test.transaction((books) => books.admit(testOrder(id), 1))
        test.transaction((books) => books.settle(testReceipt(id), 2))
      }
      test.transaction((books) => books.admit(testOrder('open'), 3))
      test.transaction((books) => books.extend('open', 1_000))
      test.transaction((books) => books.admit(testOrder('e'), 4))
      test.transaction((books) => books.close('e', 'void', 4))
      expect(verifyBooks(test.books.store).faults).toEqual([])
      test.db.exec(statement)
      test.evict()
      expect(verifyBooks(test.books.store).faults.join('\n'), statement).toMatch(fault)
    }
  })

  it('[BKS8] a pruned ledger verifies from the entry at which it was pruned', () => {
    const test = openBooks({ creditNano: 1_000_000 })
    for (let index = 0; index < 50; index++) {
      test.transaction((books) => books.admit(testOrder(`r${index}`), index))
      test.transaction((books) => books.settle(testReceipt(`r${index}`), index))
    }
    expect(test.transaction((books) => books.store.pruned.prune(30, 1_000))).toBeGreaterThan(50)
    expect(verifyBooks(test.books.store)).toMatchObject({ entries: 20, faults: [] })
    test.db.exec('UPDATE pruned SET cost_nano = cost_nano + 1')
    expect(verifyBooks(test.books.store).faults).not.toEqual([])
  })

  it('[BKS9] a receipt for an unknown request returns unknown and charges nothing', () => {
    const test = openBooks({ creditNano: 2_000 })
    expect(test.transaction((books) => books.settle(testReceipt('never'), 1))).toBe('unknown')
    expect(test.books.tenant()?.postedNano).toBe(0)
  })

  it('[BKS10] a late receipt charges at most what the budgets still allow and records the difference', () => {
    for (const holder of ['tenant', 'key'] as const) {
      const limits = { ...noLimits, budgetNano: { total: null, day: 1_100, month: null } }
      const test = openBooks({
        creditNano: 100_000,
        ...(holder === 'tenant' ? { limits } : { keys: [testKey('k', limits)] }),
      })
      test.transaction((books) => books.admit(testOrder('a'), 1))
      test.transaction((books) => books.close('a', 'expire', 2))
      test.transaction((books) => books.admit(testOrder('b'), 3))
      test.transaction((books) => books.settle(testReceipt('b', { costNano: 900 }), 4))
      expect(test.transaction((books) => books.settle(testReceipt('a'), 5))).toBe('late')
      expect(test.books.store.entries.ofRequest('a').at(-1)).toMatchObject({
        kind: 'late',
        cost_nano: 200,
        short_nano: 400,
      })
      expect(test.books.tenant()).toMatchObject({ postedNano: 1_100 })
    }
  })

  it('[BKS25] entries are pruned with their reservation, so a repeated receipt charges nothing', () => {
    const test = openBooks({ creditNano: 100_000 })
    const ids = ['a', 'b', 'c']
    for (const id of ids) test.transaction((books) => books.admit(testOrder(id), 1))
    for (const id of ids.toReversed()) test.transaction((books) => books.settle(testReceipt(id), 2))
    test.transaction((books) => books.store.pruned.prune(50, 2))
    for (const id of ids) test.transaction((books) => books.settle(testReceipt(id), 60))
    expect(test.books.tenant()?.postedNano).toBe(1_800)
    expect(verifyBooks(test.books.store).faults).toEqual([])
  })

  it('[BKS26] after a clock that ran backwards, pruning keeps young entries and the ledger verifies', () => {
    const test = openBooks({ creditNano: 100_000 })
    for (const [id, at] of [
      ['a', 100],
      ['b', 10],
    ] as const) {
      test.transaction((books) => books.admit(testOrder(id), at))
      test.transaction((books) => books.settle(testReceipt(id), at))
    }
    test.transaction((books) => books.store.pruned.prune(50, 1_000))
    expect(verifyBooks(test.books.store).faults).toEqual([])
    expect(test.books.store.entries.ofRequest('a').length).toBe(1)
  })

  it('[BKS27] a prompt above its estimate is taken from the rate at settlement, and the next request waits', () => {
    const test = openBooks({ creditNano: 100_000, limits: { ...noLimits, tokensPerMinute: 40 } })
    test.transaction((books) => books.admit(testOrder('a'), 1))
    test.transaction((books) => books.readmit({ requestId: 'a', model: 'm', promptTokens: 50, outputTokens: 9 }, 1))
    const counts = { promptTokens: 50, cachedTokens: 0, outputTokens: 5, reasoningTokens: 0 }
    test.transaction((books) => books.settle(testReceipt('a', { counts, costNano: 1_000 }), 1))
    // 40 minus 55 used leaves a debt of 15: the next unit is available after 0.4 minutes.
    expect(
      test.transaction((books) => books.admit(testOrder('b', { promptTokens: 1, outputTokens: 0 }), 1)),
    ).toMatchObject({
      ok: false,
      code: 'rate_limit_exceeded',
      retryAfterMs: 24_000,
      rates: { tokens: { left: 0 } },
    })
    expect(
      test.transaction((books) => books.admit(testOrder('b', { promptTokens: 1, outputTokens: 0 }), 24_001)).ok,
    ).toBe(true)
  })
})
