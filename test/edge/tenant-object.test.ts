/** The tenant object in workerd: real SQLite, real eviction. */
import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import type { Settlement } from '../../backends/wire/receipt.ts'
import { reservationTtlMs } from '../../src/tenant/admission.ts'
import { noLimits } from '../../src/tenant/limits/limits.ts'
import { TenantSettings } from '../../src/tenant/tenant-settings.ts'
import { evict } from './evict.ts'

const counts = { promptTokens: 10, cachedTokens: 0, outputTokens: 5, reasoningTokens: 0 }

async function openTenant(tenantId: string, creditNano = 1_000_000) {
  const stub = env.TENANT.getByName(tenantId)
  const settings = TenantSettings.parse({})
  await stub.create({ tenantId, name: tenantId, creditNano, models: ['tramontane-tiny'], limits: noLimits, settings })
  const key = {
    keyId: 'k',
    name: 'k',
    prefix: 'p',
    secretHash: 'hash',
    role: 'member',
    models: null,
    class: null,
    allowedIps: null,
    expiresAt: null,
  } as const
  await stub.addKey({ ...key, limits: noLimits })
  return stub
}

const request = (requestId: string) => ({
  requestId,
  keyId: 'k',
  secretHash: 'hash',
  model: 'tramontane-tiny',
  unknownEffort: null,
  promptTokens: 100,
  outputTokens: 100,
})

function receipt(requestId: string, change: Partial<Settlement> = {}): Settlement {
  return {
    requestId,
    dispatchId: `${requestId}.1`,
    tenantId: 't',
    keyId: 'k',
    workerId: 'w',
    model: 'tramontane-tiny',
    pool: 'latency',
    effort: 'none',
    outcome: 'finished',
    finishReason: 'stop',
    counts,
    costNano: 4_500,
    estimated: false,
    startedAt: 1,
    endedAt: 2,
    firstTokenMs: 1,
    engine: 'e',
    ...change,
  }
}

describe('tenant object', () => {
  it('[TEN1] an object that is evicted between any two calls continues with the same state', async () => {
    const stub = await openTenant('evicted')
    await evict(stub)
    expect(await stub.admit(request('r1'))).toMatchObject({ ok: true, boundNano: 75_000 })
    await evict(stub)
    expect(await stub.admit(request('r1'))).toMatchObject({ ok: false, code: 'internal_error' })
    expect(await stub.admit(request('r2'))).toMatchObject({ ok: true })
    await evict(stub)
    expect(await stub.settle([receipt('r1')])).toEqual(['posted'])
    await evict(stub)
    expect(await stub.settle([receipt('r1')])).toEqual(['already-posted'])
    expect(await stub.void('r2')).toBe('voided')
    await evict(stub)
    expect(await stub.void('r2')).toBe('already-voided')
    expect(await stub.summary(true)).toMatchObject({ postedNano: 4_500, reservedNano: 0, openReservations: 0 })
  })

  it('[TEN2] a receipt that is delivered several times, with others and in any order, posts once', async () => {
    const stub = await openTenant('replayed')
    for (const id of ['a', 'b', 'c']) await stub.admit(request(id))
    const deliveries = [['b', 'a'], ['a'], ['c', 'a', 'b'], ['c'], ['b', 'b']]
    const answers = []
    for (const ids of deliveries) answers.push(...(await stub.settle(ids.map((id) => receipt(id)))))
    expect(answers.filter((answer) => answer === 'posted').length).toBe(3)
    expect(answers.filter((answer) => answer === 'already-posted').length).toBe(6)
    expect(await stub.summary(true)).toMatchObject({
      postedNano: 13_500,
      reservedNano: 0,
      totals: { closed: 3, output_tokens: 15 },
    })
  })

  it('[TEN3] exactly 37 of a thousand simultaneous requests are admitted against a credit for 37', async () => {
    const stub = await openTenant('crowded', 37 * 75_000 + 74_999)
    const answers = await Promise.all(Array.from({ length: 1_000 }, (_, index) => stub.admit(request(`r${index}`))))
    expect(answers.filter((answer) => answer.ok).length).toBe(37)
    expect(await stub.summary(true)).toMatchObject({ reservedNano: 37 * 75_000, openReservations: 37 })
    expect(await stub.verify()).toEqual({ entries: 1, faults: [] })
  })

  it('[TEN4] a reservation without a receipt expires by alarm, but not right after the fleet starts, and a later receipt is a late entry', async () => {
    const stub = await openTenant('silent')
    await stub.admit(request('r1'))
    await runInDurableObject(stub, (_, state) => {
      state.storage.sql.exec('UPDATE reservations SET expires_at = ?', Date.now() - 1)
    })
    await evict(stub)
    expect(await runDurableObjectAlarm(stub)).toBe(true)
    expect(await stub.entries('r1')).toEqual({ reservation: 'reserved', entries: [] })
    await runInDurableObject(stub, (_, state) => {
      state.storage.sql.exec('UPDATE reservations SET expires_at = ?, opened_at = 0', Date.now() - 1)
    })
    await evict(stub)
    expect(await runDurableObjectAlarm(stub)).toBe(true)
    expect(await stub.entries('r1')).toMatchObject({
      reservation: 'expired',
      entries: [{ kind: 'expire', output_tokens: null }],
    })
    expect(await stub.summary(true)).toMatchObject({ reservedNano: 0, openReservations: 0 })
    expect(await stub.settle([receipt('r1')])).toEqual(['late'])
    expect(await stub.summary(true)).toMatchObject({ postedNano: 4_500 })
    expect(reservationTtlMs).toBeGreaterThan(60_000)
  })

  it('[TEN5] a failed write leaves neither storage nor memory half changed', async () => {
    const stub = await openTenant('broken')
    await stub.admit(request('r1'))
    await runInDurableObject(stub, (_, state) => {
      state.storage.sql.exec(
        `CREATE TRIGGER no_entries BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'disk full'); END`,
      )
    })
    await runInDurableObject(stub, (object) => {
      return expect(object.settle([receipt('r1')])).rejects.toThrow(/disk full/)
    })
    expect(await stub.summary(true)).toMatchObject({ postedNano: 0, reservedNano: 75_000, openReservations: 1 })
    await runInDurableObject(stub, (_, state) => {
      state.storage.sql.exec('DROP TRIGGER no_entries')
    })
    expect(await stub.settle([receipt('r1')])).toEqual(['posted'])
    expect(await stub.summary(true)).toMatchObject({ postedNano: 4_500, reservedNano: 0 })
  })

  it('[TEN6] a revoked key is refused on the next request', async () => {
    const stub = await openTenant('revoking')
    expect(await stub.admit(request('r1'))).toMatchObject({ ok: true })
    expect(await stub.revokeKey('k')).toMatchObject({ ok: true, value: { status: 'revoked' } })
    expect(await stub.admit(request('r2'))).toMatchObject({ ok: false, code: 'invalid_api_key' })
  })

  it('[TEN7] a tenant that was never created admits nothing', async () => {
    expect(await env.TENANT.getByName('missing').admit(request('r1'))).toMatchObject({
      ok: false,
      code: 'invalid_api_key',
    })
    expect(await env.TENANT.getByName('missing').summary(false)).toBeUndefined()
  })

  it('[TEN14] a call that fails in a shared commit does not remove the alarm that another call has set', async () => {
    const stub = await openTenant('alarmed')
    const unknown = { requestId: 'missing', model: 'tramontane-tiny', promptTokens: 1, outputTokens: 1 }
    await runInDurableObject(stub, async (object, state) => {
      const admitted = object.admit(request('r1'))
      await expect(object.readmit(unknown)).rejects.toThrow(/no reservation missing/)
      expect(await admitted).toMatchObject({ ok: true })
      expect(await state.storage.getAlarm()).toBeGreaterThan(Date.now())
    })
  })
})
