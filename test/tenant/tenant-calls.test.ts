/** Calls to a tenant other than admission and settlement: voids, rates of unbilled work, and key identity. */
import { describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import { noLimits } from '../../src/tenant/limits/limits.ts'
import { identify } from '../../src/tenant/permissions.ts'
import type { KeyRow } from '../../src/tenant/store/key-rows.ts'
import { verifyBooks } from '../../src/tenant/verify.ts'
import { openBooks, testKey, testOrder, testReceipt } from '../support/tenant.ts'

const order = (change: object = {}) => ({ keyId: 'k', secretHash: 'hash', requests: 1, tokens: 10, ...change })

describe('void', () => {
  it('[TCL1] a void with the charge `rate` keeps its tokens taken from the rates of key and tenant', () => {
    // A request of 19 tokens fits twice.
    const limits = { ...noLimits, tokensPerMinute: 40 }
    for (const owner of ['key', 'tenant'] as const) {
      const keys = [testKey('k', owner === 'key' ? limits : noLimits)]
      for (const [charge, fits] of [
        [undefined, true],
        ['rate', false],
      ] as const) {
        const test = openBooks({ creditNano: 100_000, limits: owner === 'tenant' ? limits : noLimits, keys })
        for (const id of ['a', 'b']) test.transaction((books) => books.admit(testOrder(id), 1))
        expect(test.transaction((books) => books.close('a', 'void', 1, charge))).toBe('voided')
        expect(test.books.tenant()).toMatchObject({ reservedNano: 1_000, state: { running: 1 } })
        expect(test.transaction((books) => books.admit(testOrder('c'), 1)).ok, `${owner} ${charge}`).toBe(fits)
        expect(verifyBooks(test.books.store).faults).toEqual([])
      }
    }
  })

  it('[TCL2] an admission after its void is refused, also after an eviction, and stored voids are bounded', () => {
    const test = openBooks({ creditNano: 1_000_000 })
    expect(test.transaction((books) => books.close('late', 'void', 1))).toBe('unknown')
    expect(test.transaction((books) => books.close('late', 'void', 1))).toBe('unknown')
    test.evict()
    expect(test.transaction((books) => books.admit(testOrder('late'), 2))).toMatchObject({
      ok: false,
      code: 'internal_error',
    })
    expect(test.books.tenant()).toMatchObject({ reservedNano: 0, state: { running: 0 } })
    expect(test.transaction((books) => books.settle(testReceipt('late'), 3))).toBe('unknown')
    expect(test.transaction((books) => books.close('unheard', 'expire', 3))).toBe('unknown')
    expect(test.transaction((books) => books.admit(testOrder('unheard'), 3)).ok).toBe(true)
    expect(test.transaction((books) => books.close('unheard', 'void', 3))).toBe('voided')
    const rolledBack = () =>
      test.transaction((books) => {
        books.close('rolled', 'void', 3)
        throw new Error('the storage failed')
      })
    expect(rolledBack).toThrow()
    expect(test.transaction((books) => books.admit(testOrder('rolled'), 3)).ok).toBe(true)
    const max = budgets.earlyVoids.value
    for (let index = 0; index < max; index++) test.transaction((books) => books.close(`v${index}`, 'void', 4))
    expect(test.db.prepare('SELECT count(*) AS n FROM early_voids').all()).toEqual([{ n: max }])
    expect(test.transaction((books) => books.admit(testOrder('late'), 5)).ok).toBe(true)
    expect(test.transaction((books) => books.admit(testOrder(`v${max - 1}`), 5)).ok).toBe(false)
    expect(verifyBooks(test.books.store).faults).toEqual([])
  })
})

describe('takeRates', () => {
  it('[TCL3] takes from the rates of key and tenant, refuses with the exact wait, and takes nothing when it refuses', () => {
    const tight = { ...noLimits, requestsPerMinute: 2, tokensPerMinute: 30 }
    for (const owner of ['key', 'tenant'] as const) {
      const test = openBooks({
        creditNano: 0,
        limits: owner === 'tenant' ? tight : noLimits,
        keys: [testKey('k', owner === 'key' ? tight : noLimits)],
      })
      const take = (change: object, now: number) => test.transaction((books) => books.takeRates(order(change), now))
      // A fraction of a token is rounded up: 19.1 tokens take 20.
      expect(take({ tokens: 19.1 }, 1)).toMatchObject({
        ok: true,
        ratesLeft: { requests: { left: 1 }, tokens: { left: 10 } },
      })
      const before = structuredClone([test.books.tenant(), test.books.key('k')])
      const refused = take({ tokens: 20 }, 1)
      expect(refused).toMatchObject({ ok: false, code: 'rate_limit_exceeded', retryAfterMs: 20_000 })
      expect(refused).toMatchObject({
        message: expect.stringContaining(`This ${owner} is limited to 30 tokens per minute`),
      })
      expect([test.books.tenant(), test.books.key('k')]).toEqual(before)
      expect(take({ tokens: 31 }, 1)).toMatchObject({ ok: false, retryAfterMs: null })
      expect(take({ tokens: 20 }, 20_000).ok).toBe(false)
      test.evict()
      expect(take({ tokens: 20 }, 20_001).ok).toBe(true)
      expect(take({ tokens: 0 }, 20_001)).toMatchObject({
        ok: false,
        code: 'rate_limit_exceeded',
        retryAfterMs: 10_000,
      })
      expect(test.books.tenant()).toMatchObject({ postedNano: 0, reservedNano: 0, state: { running: 0 } })
      expect(test.books.key('k')?.lastUsedAt).toBe(20_001)
    }
  })

  it('[TCL4] refuses an unknown, revoked or expired key, a key without permission, and a suspended tenant', () => {
    const refusedAs = (key: Partial<KeyRow>, change: object = {}, suspended = false) => {
      const test = openBooks({ creditNano: 0, keys: [{ ...testKey('k'), ...key }] })
      const tenant = test.books.tenant()
      if (suspended && tenant) test.transaction((books) => books.putTenant({ ...tenant, status: 'suspended' }))
      const answer = test.transaction((books) => books.takeRates(order(change), 10))
      return answer.ok ? 'taken' : answer.code
    }
    expect(refusedAs({})).toBe('taken')
    expect(refusedAs({}, { keyId: 'none' })).toBe('invalid_api_key')
    expect(refusedAs({}, { secretHash: 'other' })).toBe('invalid_api_key')
    expect(refusedAs({ revokedAt: 5 })).toBe('invalid_api_key')
    expect(refusedAs({ expiresAt: 10 })).toBe('invalid_api_key')
    expect(refusedAs({ role: 'viewer' })).toBe('permission_denied')
    expect(refusedAs({}, {}, true)).toBe('permission_denied')
  })
})

describe('identify', () => {
  it('[TCL5] returns the key’s models and its expiry', () => {
    const by = { kind: 'key', keyId: 'k', secretHash: 'hash' } as const
    const bound = openBooks({ creditNano: 0, keys: [{ ...testKey('k'), models: ['m'], expiresAt: 99 }] })
    expect(identify(bound.books, by, 'ask', 1)).toEqual({
      ok: true,
      value: { role: 'member', models: ['m'], expiresAt: 99 },
    })
    expect(identify(bound.books, by, 'ask', 99)).toMatchObject({ ok: false, code: 'invalid_api_key' })
    const free = openBooks({ creditNano: 0 })
    const none = { models: null, expiresAt: null }
    expect(identify(free.books, by, 'ask', 1)).toMatchObject({ value: { role: 'member', ...none } })
    expect(identify(free.books, { kind: 'operator' }, 'ask', 1)).toMatchObject({ value: { role: 'owner', ...none } })
  })
})
