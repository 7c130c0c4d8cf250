/** Management of keys: permissions by role, rotation, and key fences. */
import { describe, expect, it } from 'vitest'
import { heartbeatAllowed, joinFences, type KeyFence, receiptAllowed } from '../../src/fleet/key-fence.ts'
import { addKey, changeKey, revokeKey, rotateKey } from '../../src/tenant/keys.ts'
import { type Limits, noLimits } from '../../src/tenant/limits/limits.ts'
import { identify, type Requester } from '../../src/tenant/permissions.ts'
import { revokeAllKeys } from '../../src/tenant/revoke-keys.ts'
import { changeTenant } from '../../src/tenant/settings.ts'
import type { KeyRow } from '../../src/tenant/store/key-rows.ts'
import { openBooks, testKey, testOrder, testReceipt } from '../support/tenant.ts'

const operator = { kind: 'operator' } as const
const bearer = (secretHash: string, keyId = 'k') => ({ kind: 'key', keyId, secretHash }) as const

describe('keys and fences', () => {
  it('[USE20] both secrets work until the overlap ends, and a second rotation ends the first at once', () => {
    const { books, transaction } = openBooks({ creditNano: 1e9 })
    const ask = (secretHash: string, requestId: string, now: number) =>
      transaction(() => books.admit({ ...testOrder(requestId), secretHash }, now)).ok
    transaction(() => rotateKey(books, operator, 'k', { prefix: 'p2', secretHash: 'second' }, 1_000, 5_000))
    expect([ask('hash', 'a', 5_999), ask('second', 'b', 5_999)]).toEqual([true, true])
    expect([ask('hash', 'c', 6_000), ask('second', 'd', 6_000)]).toEqual([false, true])
    transaction(() => rotateKey(books, operator, 'k', { prefix: 'p3', secretHash: 'third' }, 1_000, 7_000))
    transaction(() => rotateKey(books, operator, 'k', { prefix: 'p4', secretHash: 'fourth' }, 1_000, 7_100))
    expect(['second', 'third', 'fourth'].map((hash) => ask(hash, `e${hash}`, 7_200))).toEqual([false, true, true])
    transaction(() => revokeKey(books, operator, 'k', 7_300))
    expect(['third', 'fourth'].map((hash) => ask(hash, `f${hash}`, 7_300))).toEqual([false, false])
    expect(rotateKey(books, operator, 'k', { prefix: 'p5', secretHash: 'fifth' }, 0, 8_000)).toMatchObject({
      ok: false,
      code: 'conflict',
    })
  })

  it('[USE21] a rotated key keeps its spent and reserved budget', () => {
    const limits = { ...noLimits, budgetNano: { total: 1_000, day: null, month: null } }
    const { books, transaction } = openBooks({ creditNano: 1e9, keys: [testKey('k', limits)] })
    // Bound: 10 prompt tokens at 10 and 9 output tokens at 100.
    expect(transaction(() => books.admit(testOrder('a'), 0))).toMatchObject({ ok: true, boundNano: 1_000 })
    transaction(() => rotateKey(books, operator, 'k', { prefix: 'p2', secretHash: 'second' }, 0, 1))
    const again = transaction(() => books.admit({ ...testOrder('b'), secretHash: 'second' }, 2))
    expect(again).toMatchObject({ ok: false, code: 'insufficient_quota' })
  })

  it('[LIM4] a rate that is set on a tenant or key without one begins full, also again after it was removed', () => {
    const { books, transaction } = openBooks({ creditNano: 1e9, keys: [testKey()] })
    const set = (requestsPerMinute: number | null, now: number) =>
      transaction(() => [
        changeTenant(books, { limits: { requestsPerMinute, tokensPerMinute: requestsPerMinute && 1_000 } }, now),
        changeKey(books, operator, 'k', { limits: { requestsPerMinute } }, now),
      ])
    const admitted = (ids: string, now: number) =>
      [...ids].map((id) => transaction(() => books.admit(testOrder(`${id}${now}`), now)).ok)
    set(2, 1)
    expect(admitted('abc', 1)).toEqual([true, true, false])
    set(null, 2)
    set(2, 3)
    expect(admitted('abc', 3)).toEqual([true, true, false])
  })

  it('[USE23] no key creates, changes or rotates a key that is wider than itself', () => {
    const ownLimits = {
      ...{ requestsPerMinute: 60, tokensPerMinute: null, concurrentMax: 4 },
      budgetNano: { total: 1_000, day: null, month: 500 },
    }
    const bounds = {
      role: 'admin',
      expiresAt: 9_000,
      class: 'batch',
      allowedIps: ['10.0.0.0/8', '192.0.2.0/24'],
    } as const
    const own: KeyRow = {
      ...testKey('boss', ownLimits),
      ...bounds,
      allowedIps: [...bounds.allowedIps],
      models: ['m', 'n'],
    }
    const { books, transaction } = openBooks({ creditNano: 1e9, keys: [own, testKey('wide')] })
    const by = { ...bearer('hash', 'boss'), address: '10.1.2.3' }
    const child: KeyRow = { ...own, keyId: 'child', role: 'member' }
    const limits = (change: Partial<Limits>) => ({ limits: { ...own.limits, ...change } })
    const budget = (change: Partial<Limits['budgetNano']>) =>
      limits({ budgetNano: { ...own.limits.budgetNano, ...change } })
    const tooWide: [string, Partial<KeyRow>][] = [
      ['limits.requestsPerMinute', limits({ requestsPerMinute: 61 })],
      ['limits.concurrentMax', limits({ concurrentMax: null })],
      ['limits.budgetNano.total', budget({ total: null })],
      ['limits.budgetNano.month', budget({ month: 501 })],
      ['expiresAt', { expiresAt: null }],
      ['expiresAt', { expiresAt: 9_001 }],
      ['models', { models: null }],
      ['models', { models: ['m', 'x'] }],
      ['class', { class: null }],
      ['allowedIps', { allowedIps: null }],
      ['allowedIps', { allowedIps: ['10.0.0.0/8', '192.0.2.0/23'] }],
      ['allowedIps', { allowedIps: ['::/0'] }],
    ]
    for (const [param, change] of tooWide) {
      const denial = { ok: false, code: 'permission_denied', param }
      expect(transaction(() => addKey(books, by, { ...child, ...change }, 1))).toMatchObject(denial)
      expect(addKey(books, operator, { ...child, keyId: param, ...change }, 1).ok, param).toBe(true)
    }
    expect(transaction(() => addKey(books, by, { ...child, models: ['n'] }, 1)).ok).toBe(true)
    expect(changeKey(books, by, 'child', { limits: { budgetNano: { total: 2_000 } } }, 1)).toMatchObject({
      param: 'limits.budgetNano.total',
    })
    expect(changeKey(books, by, 'boss', { expiresAt: 9_500 }, 1)).toMatchObject({ param: 'expiresAt' })
    expect(changeKey(books, by, 'wide', { name: 'renamed' }, 1).ok).toBe(true)
    // The secret of a wider key would give its bearer more than its own.
    expect(rotateKey(books, by, 'wide', { prefix: 'p', secretHash: 's' }, 0, 1).ok).toBe(false)
    expect(rotateKey(books, by, 'boss', { prefix: 'p', secretHash: 's' }, 5, 1).ok).toBe(true)
  })

  it('[USE40] a key with an allow-list is refused from every other address, and only a valid key learns why', () => {
    const allowedIps = ['192.0.2.0/24', '2001:db8::/32']
    const { books, transaction } = openBooks({ creditNano: 1e9, keys: [{ ...testKey(), role: 'owner', allowedIps }] })
    const from = (address: string | null | undefined, secretHash = 'hash') => ({
      ...bearer(secretHash),
      ...(address !== undefined && { address }),
    })
    let requests = 0
    const asks = (by: { secretHash: string; address?: string | null }) => {
      const { secretHash, address = null } = by
      const order = { ...testOrder(`r${++requests}`), secretHash, address }
      const rates = { keyId: 'k', secretHash, address, requests: 1, tokens: 1 }
      return [transaction(() => books.admit(order, 1)), transaction(() => books.takeRates(rates, 1))]
    }
    for (const address of ['192.0.2.9', '2001:db8::5', '::ffff:192.0.2.9']) {
      expect(asks(from(address)).map(({ ok }) => ok)).toEqual([true, true])
      expect(identify(books, from(address), 'read-usage', 1).ok).toBe(true)
    }
    for (const address of ['192.0.3.9', '2001:db9::5', 'nonsense', null, undefined]) {
      const refusal = {
        ok: false,
        code: 'permission_denied',
        message: expect.stringContaining(address ?? 'an unknown'),
      }
      for (const answer of asks(from(address))) expect(answer).toMatchObject(refusal)
      for (const right of ['read-usage', 'ask', 'all-keys'] as const)
        expect(identify(books, from(address), right, 1)).toMatchObject(refusal)
      const guess = { ok: false, code: 'invalid_api_key', message: expect.not.stringContaining('address') }
      for (const answer of asks(from(address, 'wrong'))) expect(answer).toMatchObject(guess)
    }
  })

  it('[USE41] all keys are revoked at once, except the caller’s own and those of a higher role', () => {
    const key = (keyId: string, role: KeyRow['role'], change: Partial<KeyRow> = {}) => ({
      ...testKey(keyId),
      role,
      ...change,
    })
    const gone = key('gone', 'member', { revokedAt: 7 })
    const rotated = key('rotated', 'member', { previous: { secretHash: 'older', until: 9_999 } })
    const keys = [key('owner', 'owner'), key('admin', 'admin'), key('a', 'member'), key('b', 'viewer'), gone, rotated]
    const valid = ({ books }: ReturnType<typeof openBooks>) =>
      keys.map(({ keyId }) => keyId).filter((keyId) => books.key(keyId)?.revokedAt === null)
    const first = openBooks({ creditNano: 1e9, keys })
    const revoke = (of: typeof first, by: Requester, includeOwn = false) =>
      of.transaction((books) => revokeAllKeys(books, by, includeOwn, 50))
    first.transaction((books) => books.admit({ ...testOrder('running'), keyId: 'a' }, 40))
    expect(revoke(first, bearer('hash', 'a'))).toMatchObject({ ok: false, code: 'permission_denied' })
    expect(revoke(first, bearer('hash', 'admin'))).toEqual({ ok: true, value: { revoked: 3, kept: 2 } })
    expect(valid(first)).toEqual(['owner', 'admin'])
    first.evict()
    expect(valid(first)).toEqual(['owner', 'admin'])
    expect(first.books.key('gone')?.revokedAt).toBe(7)
    expect(first.books.key('rotated')?.previous).toBeNull()
    // The request that ran meanwhile is still charged to its key.
    expect(first.transaction((books) => books.settle(testReceipt('running'), 60))).toBe('posted')
    expect(first.books.key('a')).toMatchObject({ revokedAt: 50, state: { running: 0 } })
    expect(first.books.tenant()).toMatchObject({ postedNano: 600, reservedNano: 0 })
    expect(revoke(first, bearer('hash', 'admin'), true)).toEqual({ ok: true, value: { revoked: 1, kept: 1 } })
    expect(revoke(first, operator)).toEqual({ ok: true, value: { revoked: 1, kept: 0 } })
    expect(valid(first)).toEqual([])
  })

  it('[USE22] a refused change to a key changes nothing and returns its reason', () => {
    const { books } = openBooks({
      creditNano: 1e9,
      keys: [{ ...testKey('admin'), role: 'admin' }, { ...testKey('owner'), role: 'owner' }, testKey('plain')],
    })
    const before = JSON.stringify(books.store.keys.all())
    const secret = { prefix: 'p', secretHash: 'new' }
    const attempts = [
      addKey(books, bearer('hash', 'plain'), { ...testKey('x'), expiresAt: null }, 1),
      addKey(books, bearer('wrong', 'admin'), { ...testKey('x') }, 1),
      addKey(books, bearer('hash', 'admin'), { ...testKey('x'), role: 'owner' }, 1),
      addKey(books, operator, { ...testKey('x'), expiresAt: 1 }, 1),
      changeKey(books, bearer('hash', 'admin'), 'plain', { role: 'owner' }, 1),
      changeKey(books, bearer('hash', 'plain'), 'plain', { limits: { requestsPerMinute: null } }, 1),
      rotateKey(books, bearer('hash', 'admin'), 'owner', secret, 0, 1),
      rotateKey(books, bearer('hash', 'plain'), 'admin', secret, 0, 1),
      revokeKey(books, bearer('hash', 'admin'), 'owner', 1),
      revokeKey(books, operator, 'unknown', 1),
    ]
    expect(attempts.map((answer) => !answer.ok && answer.code)).toEqual([
      'permission_denied',
      'invalid_api_key',
      'permission_denied',
      'invalid_value',
      'permission_denied',
      'permission_denied',
      'permission_denied',
      'permission_denied',
      'permission_denied',
      'not_found',
    ])
    expect(JSON.stringify(books.store.keys.all())).toBe(before)
  })

  it('[ADN31] a key fence never moves down in any order, and separates heartbeats from receipts', () => {
    const rotated: KeyFence = { workerId: 'w', epochMin: 1, nextMin: 2, nextAt: 100, epochRevoked: 0 }
    const again: KeyFence = { workerId: 'w', epochMin: 2, nextMin: 3, nextAt: 200, epochRevoked: 0 }
    const revoked: KeyFence = { workerId: 'w', epochMin: 4, nextMin: 0, nextAt: 0, epochRevoked: 3 }
    expect([1, 2].map((epoch) => heartbeatAllowed(rotated, epoch, 99))).toEqual([true, true])
    expect([1, 2].map((epoch) => heartbeatAllowed(rotated, epoch, 100))).toEqual([false, true])
    const both = joinFences(rotated, again)
    expect(both).toEqual(joinFences(again, rotated))
    expect([1, 2, 3].map((epoch) => heartbeatAllowed(both, epoch, 150))).toEqual([false, true, true])
    expect([1, 2, 3].map((epoch) => receiptAllowed(both, epoch))).toEqual([true, true, true])
    const out = joinFences(both, revoked)
    expect(joinFences(out, rotated)).toEqual(out)
    expect([3, 4].map((epoch) => heartbeatAllowed(out, epoch, 300))).toEqual([false, true])
    expect([3, 4].map((epoch) => receiptAllowed(out, epoch))).toEqual([false, true])
    expect(heartbeatAllowed(undefined, 1, 0) && receiptAllowed(undefined, 1)).toBe(true)
  })
})
