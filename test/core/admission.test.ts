import { describe, expect, it } from 'vitest'
import { fullBucket } from '../../src/limits/bucket.ts'
import { admit, readmit } from '../../src/tenant/admission.ts'
import type { KeyRow, Tenant } from '../../src/tenant/store.ts'

const rates = { inputNano: 10, cachedNano: 1, outputNano: 20 }
const tenant: Tenant = {
  tenantId: 't',
  name: 'T',
  createdAt: 0,
  creditNano: 10_000,
  postedNano: 0,
  reservedNano: 0,
  requestsPerMinute: 0,
  concurrentMax: 2,
  effortUnknown: 'map',
}
const key: KeyRow = {
  keyId: 'k',
  name: 'K',
  prefix: 'p',
  secretHash: 'hash',
  createdAt: 0,
  expiresAt: 1_000,
  revokedAt: null,
  requestsPerMinute: 2,
  bucket: fullBucket(2, 0),
}
const order = { requestId: 'r', keyId: 'k', secretHash: 'hash', model: 'm', promptTokens: 100, outputTokens: 50 }
const rows = { tenant, key, rates, booking: undefined, open: 0 }

describe('admission', () => {
  it('[ADM1] a good request reserves its bound and takes one unit of its key’s rate, in one answer', () => {
    expect(admit(order, rows, 5)).toMatchObject({
      ok: true,
      tenant: { reservedNano: 2_000 },
      booking: { boundNano: 2_000, state: 'reserved', openedAt: 5 },
      requestsLeft: 1,
    })
  })

  it('[ADM2] a key that is unknown, of another secret, revoked or expired is refused, and says which', () => {
    const refused = [
      admit(order, { ...rows, key: undefined }, 5),
      admit({ ...order, secretHash: 'other' }, rows, 5),
      admit(order, { ...rows, key: { ...key, revokedAt: 4 } }, 5),
      admit(order, rows, 1_000),
    ]
    expect(refused.map((answer) => !answer.ok && answer.code)).toEqual(Array(4).fill('invalid_api_key'))
    expect(refused.map((answer) => !answer.ok && answer.message)).toMatchObject(
      [/no such key/, /no such key/, /revoked/, /expired/].map((text) => expect.stringMatching(text)),
    )
  })

  it('[ADM3] rate, concurrency and money each refuse with their own code', () => {
    const empty = { ...key, bucket: { level: 0, at: 5 } }
    expect(admit(order, { ...rows, key: empty }, 5)).toMatchObject({
      ok: false,
      code: 'rate_limit_exceeded',
      retryAfterMs: 30_000,
    })
    expect(admit(order, { ...rows, open: 2 }, 5)).toMatchObject({ ok: false, code: 'rate_limit_exceeded' })
    expect(admit(order, { ...rows, tenant: { ...tenant, postedNano: 8_001 } }, 5)).toMatchObject({
      ok: false,
      code: 'insufficient_quota',
      retryAfterMs: null,
    })
    expect(admit(order, { ...rows, tenant: { ...tenant, postedNano: 8_000 } }, 5).ok).toBe(true)
    expect(admit(order, { ...rows, rates: undefined }, 5)).toMatchObject({ ok: false, code: 'permission_denied' })
  })

  it('[ADM4] a second admission raises the reservation to the exact count, or is refused for want of money', () => {
    const first = admit(order, rows, 5)
    if (!first.ok) throw new Error(first.message)
    const raised = readmit(
      { promptTokens: 700, outputTokens: 50 },
      { tenant: first.tenant, rates, booking: first.booking },
    )
    expect(raised).toMatchObject({ ok: true, booking: { boundNano: 8_000 }, tenant: { reservedNano: 8_000 } })
    expect(
      readmit({ promptTokens: 901, outputTokens: 50 }, { tenant: first.tenant, rates, booking: first.booking }),
    ).toMatchObject({ ok: false, code: 'insufficient_quota' })
  })
})
