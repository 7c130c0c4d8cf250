import { describe, expect, it } from 'vitest'
import { admit, readmit } from '../../src/tenant/admission.ts'
import { noLimits } from '../../src/tenant/limits/limits.ts'
import type { Admission } from '../../src/tenant/rpc.ts'
import type { TenantSettings } from '../../src/tenant/tenant-settings.ts'
import { openBooks, testRates as rates, testKey, testOrder, testTenant } from '../support/tenant.ts'

const order = testOrder('r')
const slow = { ...noLimits, requestsPerMinute: 2 }
const tenant = { ...testTenant(), creditNano: 10_000 }
const key = testKey('k', slow)
const rows = { tenant, key, rates, reservation: undefined }
/** Bound of the request: 10 prompt tokens at 10, 9 output tokens at 100. */
const bound = 1_000

describe('admission', () => {
  it('[ADM1] an admitted request reserves its bound and takes one request of its key’s rate', () => {
    expect(admit(order, rows, 5)).toMatchObject({
      ok: true,
      tenant: { reservedNano: bound, state: { running: 1 } },
      key: { lastUsedAt: 5, state: { running: 1, windows: { total: { reservedNano: bound } } } },
      reservation: { boundNano: bound, boundTokens: 19, state: 'reserved', openedAt: 5 },
    })
  })

  it('[ADM2] an unknown, revoked or expired key, a wrong secret and a wrong model are refused with the reason', () => {
    const refused = [
      admit(order, { ...rows, key: undefined }, 5),
      admit({ ...order, secretHash: 'other' }, rows, 5),
      admit(order, { ...rows, key: { ...key, revokedAt: 4 } }, 5),
      admit(order, { ...rows, key: { ...key, expiresAt: 5 } }, 5),
      admit(order, { ...rows, key: { ...key, models: ['other'] } }, 5),
    ]
    const texts = [/not found/, /not found/, /revoked/, /expired/, /cannot use model m/]
    for (const [index, answer] of refused.entries()) {
      expect(answer).toMatchObject({ ok: false, message: expect.stringMatching(texts[index] ?? '') })
    }
    expect(refused.map((answer) => !answer.ok && answer.code)).toEqual([
      ...Array(4).fill('invalid_api_key'),
      'permission_denied',
    ])
  })

  it('[ADM3] each limit refuses with its own code and wait, and names the key or the tenant', () => {
    const budgets = { ...noLimits.budgetNano, day: bound - 1 }
    const cases = [
      [
        { ...key, state: { ...key.state, requests: { level: 0, at: 5 } } },
        tenant,
        'rate_limit_exceeded',
        30_000,
        /This key is limited to 2 requests/,
      ],
      [
        key,
        { ...tenant, limits: { ...noLimits, concurrentMax: 1 }, state: { ...tenant.state, running: 1 } },
        'rate_limit_exceeded',
        1_000,
        /This tenant is limited to 1 concurrent/,
      ],
      [key, { ...tenant, limits: { ...noLimits, concurrentMax: 0 } }, 'rate_limit_exceeded', null, /larger limit/],
      [key, { ...tenant, limits: { ...noLimits, requestsPerMinute: 0 } }, 'rate_limit_exceeded', null, /larger limit/],
      [
        key,
        { ...tenant, limits: { ...noLimits, tokensPerMinute: 18 } },
        'rate_limit_exceeded',
        null,
        /smaller max_tokens/,
      ],
      [
        { ...key, limits: { ...noLimits, budgetNano: budgets } },
        tenant,
        'insufficient_quota',
        null,
        /daily budget of this key/,
      ],
      [key, { ...tenant, creditNano: bound - 1 }, 'insufficient_quota', null, /ask the operator for credit/],
    ] as const
    for (const [oneKey, oneTenant, code, retryAfterMs, message] of cases) {
      const answer = admit(order, { ...rows, key: oneKey, tenant: oneTenant }, 5)
      expect(answer).toMatchObject({ ok: false, code, retryAfterMs, message: expect.stringMatching(message) })
    }
    expect(admit(order, { ...rows, tenant: { ...tenant, creditNano: bound } }, 5).ok).toBe(true)
    expect(admit(order, { ...rows, rates: undefined }, 5)).toMatchObject({ ok: false, code: 'permission_denied' })
  })

  it('[ADM4] a second admission raises the reservation to the exact count or is refused', () => {
    const first = admit(order, rows, 5)
    if (!first.ok) throw new Error(first.message)
    const again = { ...rows, ...first }
    expect(readmit({ promptTokens: 800, outputTokens: 9 }, again, 6)).toMatchObject({
      ok: true,
      reservation: { boundNano: 8_900 },
      tenant: { reservedNano: 8_900, state: { running: 1 } },
      key: { state: { windows: { total: { reservedNano: 8_900 } } } },
    })
    expect(readmit({ promptTokens: 911, outputTokens: 9 }, again, 6)).toMatchObject({
      ok: false,
      code: 'insufficient_quota',
    })
    const small = { ...first.key, limits: { ...slow, budgetNano: { total: 2_000, day: null, month: null } } }
    expect(readmit({ promptTokens: 200, outputTokens: 9 }, { ...again, key: small }, 6)).toMatchObject({
      ok: false,
      message: expect.stringMatching(/budget of this key/),
    })
  })

  it('[ADM9] a spent budget says when it renews, and gives no advice that cannot help', () => {
    const now = Date.UTC(2026, 10, 28, 7)
    const budget = (kind: 'total' | 'day' | 'month', nano: number) => {
      const limits = { ...noLimits, budgetNano: { ...noLimits.budgetNano, [kind]: nano } }
      const answer = admit(order, { ...rows, key: testKey('k', limits) }, now)
      return answer.ok ? undefined : answer.message
    }
    expect(budget('day', 0)).toBe(
      'Nothing of the daily budget of this key remains. Wait until 2026-11-29T00:00:00.000Z, when it renews, or ask for a larger budget.',
    )
    expect(budget('month', 999)).toMatch(/Set a smaller max_tokens, or wait until 2026-12-01T00:00:00.000Z, when it/)
    expect(budget('total', 0)).toBe('Nothing of the budget of this key remains. Ask for a larger budget.')
    const poor = admit(order, { ...rows, tenant: { ...tenant, creditNano: 0 } }, now)
    expect(poor).toMatchObject({ message: "Nothing of the tenant's credit remains. Ask the operator for credit." })
  })

  it('[ADM10] a request without a bound of its own is shortened to what money and rates allow, down to 64 tokens', () => {
    const open = { ...order, outputTokens: 1_024, mayShorten: true }
    const shortened = (limits: Partial<typeof noLimits>, creditNano = 1e9) => {
      const limited = { ...testTenant({ ...noLimits, ...limits }), creditNano }
      const answer = admit(open, { ...rows, tenant: limited, key: testKey('k', noLimits) }, 5)
      return answer.ok ? [answer.outputTokens, answer.reservation.boundNano] : answer.code
    }
    expect(shortened({})).toEqual([1_024, 102_500])
    // The prompt costs 100, each output token 100.
    expect(shortened({}, 10_050)).toEqual([99, 10_000])
    expect(shortened({ budgetNano: { total: null, day: 8_000, month: null } })).toEqual([79, 8_000])
    expect(shortened({ tokensPerMinute: 110 })).toEqual([100, 10_100])
    expect(shortened({}, 6_500)).toEqual([64, 6_500])
    expect(shortened({}, 6_499)).toBe('insufficient_quota')
    expect(shortened({ tokensPerMinute: 73 })).toBe('rate_limit_exceeded')
    expect(
      admit({ ...open, mayShorten: false }, { ...rows, tenant: { ...tenant, creditNano: 10_050 } }, 5),
    ).toMatchObject({
      ok: false,
    })
  })

  it('[ADM11] a longer prompt of a shortened request keeps the reservation if 64 tokens of output still fit', () => {
    const first = admit({ ...order, outputTokens: 1_024, mayShorten: true }, rows, 5)
    if (!first.ok) throw new Error(first.message)
    expect(first.outputTokens).toBe(99)
    const again = { ...rows, ...first }
    const longer = (promptTokens: number) => readmit({ promptTokens, outputTokens: 99, mayShorten: true }, again, 6)
    expect(longer(360)).toEqual({ ok: true, kept: true })
    expect(longer(361)).toMatchObject({ ok: false, code: 'insufficient_quota' })
    expect(readmit({ promptTokens: 20, outputTokens: 99 }, again, 6)).toMatchObject({ ok: false })
  })

  it('[ADM5] admission reports the remaining requests and tokens of the tighter rate', () => {
    const tight = { ...testTenant({ ...noLimits, requestsPerMinute: 60, tokensPerMinute: 100 }), creditNano: 10_000 }
    const refused = admit(
      order,
      { ...rows, tenant: tight, key: { ...key, state: { ...key.state, requests: { level: 0, at: 5 } } } },
      5,
    )
    expect(refused).toMatchObject({
      rates: { requests: { limit: 2, left: 0, resetMs: 60_000 }, tokens: { limit: 100, left: 100, resetMs: 0 } },
    })
  })

  it('[ADM6] a tenant that rejects unsupported efforts gets invalid_value, other tenants are served', () => {
    const strict = { ...tenant, settings: { ...tenant.settings, effortUnknown: 'reject' as const } }
    const mapped = { ...order, unknownEffort: 'medium' }
    expect(admit(mapped, { ...rows, tenant: strict }, 5)).toMatchObject({
      ok: false,
      code: 'invalid_value',
      message: expect.stringMatching(/"medium"/),
    })
    expect(admit(mapped, rows, 5).ok).toBe(true)
    expect(admit(order, { ...rows, tenant: strict }, 5).ok).toBe(true)
  })

  it('[ADM7] a request that leaves no capacity for another like it is settled before its answer ends', () => {
    const roomy = admit(order, rows, 5)
    expect(roomy).toMatchObject({ ok: true, settleFirst: false })
    const tight = [
      { ...rows, key: testKey('k', { ...noLimits, concurrentMax: 1 }) },
      { ...rows, tenant: { ...tenant, creditNano: 2 * bound - 1 } },
      { ...rows, tenant: { ...testTenant({ ...noLimits, tokensPerMinute: 37 }), creditNano: 10_000 } },
      { ...rows, key: testKey('k', { ...noLimits, budgetNano: { ...noLimits.budgetNano, month: 2 * bound - 1 } }) },
    ]
    for (const each of tight) expect(admit(order, each, 5)).toMatchObject({ ok: true, settleFirst: true })
  })

  it('[ADM8] weight and class come from the tenant, and a key can only lower its class to batch', () => {
    const admitted = (settings: Partial<TenantSettings>, keyClass: 'batch' | null) => {
      const batchKey = { ...testKey(), class: keyClass }
      const test = openBooks({ creditNano: 10_000, keys: [batchKey] })
      return test.transaction((books) => {
        const opened = books.tenant() ?? testTenant()
        books.putTenant({ ...opened, settings: { ...opened.settings, ...settings } })
        const { weight, priorityClass } = books.admit(order, 5) as Admission
        return { weight, priorityClass }
      })
    }
    expect(admitted({}, null)).toEqual({ weight: 100, priorityClass: 'interactive' })
    expect(admitted({ weight: 7 }, 'batch')).toEqual({ weight: 7, priorityClass: 'batch' })
    expect(admitted({ class: 'batch', weight: 1_000 }, null)).toEqual({ weight: 1_000, priorityClass: 'batch' })
  })
})
