/** Receipts at the edge: refusals, their isolation from other receipts, and the operator's routes for them. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import type { Receipt } from '../../backends/wire/receipt.ts'
import { recordRefused } from '../../src/settlement/refused-receipts.ts'
import { testAsk, testBeat } from '../support/fleet.ts'
import { keyHash, makeReceipt, openKey, openTenant, operate, operatorKey, sealBy, send } from './client.ts'

const rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }
const boundNano = 750_000

async function tenantOf(tenantId: string) {
  await openTenant(tenantId)
  const { keyId } = await openKey(tenantId)
  const admit = async (requestId: string) => {
    const secretHash = await keyHash(tenantId, keyId)
    const tokens = { promptTokens: 1_000, outputTokens: 1_000, unknownEffort: null }
    const admission = { requestId, keyId, secretHash, model: 'tramontane-tiny', ...tokens }
    expect(await env.TENANT.getByName(tenantId).admit(admission)).toMatchObject({ ok: true, boundNano })
  }
  const receipt = (requestId: string, change: Partial<Receipt> = {}) =>
    makeReceipt({ requestId, dispatchId: `${requestId}.1`, tenantId, keyId, ...change })
  return { admit, receipt, summary: () => operate('GET', `/admin/tenants/${tenantId}`) }
}

async function deliver(receipts: unknown[], workerId = 'w1') {
  const tokens = await Promise.all(receipts.map((receipt) => sealBy('receipt', receipt, workerId, 1)))
  return send('POST', '/internal/receipts', { receipts: tokens }, null)
}

const huge = { promptTokens: 9_007_199_254_740_991, cachedTokens: 0, outputTokens: 1, reasoningTokens: 0 }

describe('delivered receipts', () => {
  it('[RCT5] each receipt is judged alone: a refused one is named, recorded and frees no slot, and the others settle', async () => {
    const tenant = await tenantOf('judged')
    for (const id of ['req_j1', 'req_j2']) await tenant.admit(id)
    const fleet = env.FLEET.getByName('fleet')
    const beat = testBeat('w1', { model: 'tramontane-tiny', sentAt: Date.now() })
    await operate('POST', '/admin/workers', { workerId: 'w1', url: beat.url })
    await fleet.heartbeat(beat, 1)
    for (const requestId of ['req_j1', 'req_j2'])
      expect(await fleet.lease(testAsk(requestId, { model: beat.model }))).toMatchObject({ kind: 'granted' })
    const forged = tenant.receipt('req_j1', { counts: huge })
    const answer = await deliver([forged, tenant.receipt('req_j2'), { workerId: 'w1', dispatchId: 'req_j3.1' }])
    expect(answer).toMatchObject({ status: 200, body: { done: ['req_j2.1'] } })
    expect(answer.body.refused).toEqual([
      { dispatchId: 'req_j1.1', reason: expect.stringMatching(/^counts\.promptTokens: .*16777216/) },
      { dispatchId: 'req_j3.1', reason: expect.stringMatching(/^requestId: /) },
    ])
    expect(await tenant.summary()).toMatchObject({ postedNano: 21_600, openReservations: 1, reservedNano: boundNano })
    expect((await operate('GET', '/admin/pools')).latency).toMatchObject({ leased: 1 })
    const { data } = await operate('GET', '/admin/receipts?workerId=w1')
    expect(data).toMatchObject([
      { dispatchId: 'req_j3.1', tenantId: null, state: 'refused', times: 1 },
      { dispatchId: 'req_j1.1', tenantId: 'judged', requestId: 'req_j1', receipt: { counts: huge } },
    ])
  })

  it('[RCT6] a call whose receipts are not all sealed by one worker returns 403 and settles nothing', async () => {
    const tenant = await tenantOf('sealers')
    await tenant.admit('req_s1')
    const good = await sealBy('receipt', tenant.receipt('req_s1'), 'w1', 1)
    const foreign = await sealBy('receipt', tenant.receipt('req_s1', { workerId: 'w2' }), 'w2', 1)
    const posing = await sealBy('receipt', tenant.receipt('req_s1', { workerId: 'w2' }), 'w1', 1)
    const other = await sealBy('heartbeat', tenant.receipt('req_s1'), 'w1', 1)
    for (const bad of [foreign, posing, other, `${good.slice(0, -4)}AAAA`, 'x'])
      expect((await send('POST', '/internal/receipts', { receipts: [good, bad] }, null)).status).toBe(403)
    expect(await tenant.summary()).toMatchObject({ postedNano: 0, openReservations: 1 })
    expect(await send('POST', '/internal/receipts', { receipts: [good] }, null)).toMatchObject({
      body: { done: ['req_s1.1'], refused: [] },
    })
  })

  it('[RCT7] a tenant whose object fails delays only its own receipts', async () => {
    const [broken, sound] = [await tenantOf('broken'), await tenantOf('sound')]
    await broken.admit('req_b1')
    await sound.admit('req_o1')
    await runInDurableObject(env.TENANT.getByName('broken'), (_, state) => {
      state.storage.sql.exec(
        `CREATE TRIGGER no_entries BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'disk full'); END`,
      )
    })
    const receipts = [broken.receipt('req_b1'), sound.receipt('req_o1')]
    expect((await deliver(receipts)).body).toEqual({ done: ['req_o1.1'], refused: [] })
    await runInDurableObject(env.TENANT.getByName('broken'), (_, state) => {
      state.storage.sql.exec('DROP TRIGGER no_entries')
    })
    expect((await deliver(receipts)).body.done.sort()).toEqual(['req_b1.1', 'req_o1.1'])
    for (const tenant of [broken, sound])
      expect(await tenant.summary()).toMatchObject({ postedNano: 21_600, openReservations: 0 })
  })
})

describe('refused receipts', () => {
  it('[RCT20] refused receipts are listed by worker, tenant, request and state, page by page, with reasons', async () => {
    const tenant = await tenantOf('listed')
    const forged = (requestId: string, workerId = 'w1') =>
      tenant.receipt(requestId, { workerId, proof: 'p'.repeat(43) })
    await deliver([forged('req_l1'), forged('req_l2'), forged('req_l3')])
    await deliver([forged('req_l4', 'w2')], 'w2')
    const ids = async (query: string) =>
      (await operate('GET', `/admin/receipts?tenantId=listed${query}`)).data.map(
        (row: { dispatchId: string }) => row.dispatchId,
      )
    expect(await ids('')).toEqual(['req_l4.1', 'req_l3.1', 'req_l2.1', 'req_l1.1'])
    expect(await ids('&workerId=w2')).toEqual(['req_l4.1'])
    expect(await ids('&requestId=req_l2')).toEqual(['req_l2.1'])
    expect(await ids('&state=settled')).toEqual([])
    const first = await operate('GET', '/admin/receipts?tenantId=listed&limit=3')
    expect(first.data.length).toBe(3)
    expect(await ids(`&limit=3&before=${first.next}`)).toEqual(['req_l1.1'])
    expect(await operate('GET', '/admin/receipts/req_l4.1')).toMatchObject({
      ...{ workerId: 'w2', tenantId: 'listed', requestId: 'req_l4', state: 'refused', times: 1 },
      reason: expect.stringMatching(/^proof: /),
      receipt: { counts: { promptTokens: 100 } },
    })
    await deliver([forged('req_l4', 'w2')], 'w2')
    expect(await operate('GET', '/admin/receipts/req_l4.1')).toMatchObject({ times: 2 })
    expect(await send('GET', '/admin/receipts/none')).toMatchObject({ status: 404 })
    for (const query of ['limit=0', 'limit=x', 'state=open', `tenantId=${'x'.repeat(65)}`])
      expect(await send('GET', `/admin/receipts?${query}`), query).toMatchObject({ status: 400 })
  })

  it('[RCT21] a refused receipt is settled once with corrected counts within the bound, and the audit log names the operator', async () => {
    const tenant = await tenantOf('settled')
    await tenant.admit('req_t1')
    await deliver([tenant.receipt('req_t1', { counts: huge })])
    const path = '/admin/receipts/req_t1.1/settle'
    expect(await send('POST', path, {}, await operatorKey(['tenants:read']))).toMatchObject({ status: 403 })
    expect(await send('POST', path, {})).toMatchObject({ status: 400, body: { param: 'counts' } })
    const wrong = { promptTokens: 10, cachedTokens: 11, outputTokens: 1, reasoningTokens: 0 }
    expect(await send('POST', path, { counts: wrong })).toMatchObject({
      ...{ status: 400, body: { param: 'counts', message: expect.stringContaining('counts.cachedTokens') } },
    })
    expect(await tenant.summary()).toMatchObject({ postedNano: 0, openReservations: 1 })
    const counts = { promptTokens: 300, cachedTokens: 100, outputTokens: 20, reasoningTokens: 5 }
    const costNano = 200 * rates.inputNano + 100 * rates.cachedNano + 20 * rates.outputNano
    const settled = { answer: 'posted', costNano, shortNano: 0, tenantId: 'settled', dispatchId: 'req_t1.1' }
    expect(await operate('POST', path, { counts })).toMatchObject(settled)
    expect(await operate('POST', path, { counts: { ...counts, outputTokens: 900 } })).toMatchObject({
      ...settled,
      answer: 'already-posted',
    })
    expect(await tenant.summary()).toMatchObject({ postedNano: costNano, reservedNano: 0, openReservations: 0 })
    expect(await operate('GET', '/admin/receipts/req_t1.1')).toMatchObject({ state: 'settled' })
    // A worker that sends the correct receipt later gets `done`.
    expect((await deliver([tenant.receipt('req_t1')])).body).toMatchObject({ done: ['req_t1.1'] })
    // A second dispatch of the request can post only the rest of the bound.
    await deliver([tenant.receipt('req_t1', { dispatchId: 'req_t1.2', proof: '' })])
    const most = { promptTokens: 16_000_000, cachedTokens: 0, outputTokens: 16_000_000, reasoningTokens: 0 }
    expect(await operate('POST', '/admin/receipts/req_t1.2/settle', { counts: most })).toMatchObject({
      ...{ answer: 'late', costNano: boundNano - costNano },
    })
    expect(await tenant.summary()).toMatchObject({ postedNano: boundNano })
    expect(await operate('GET', '/admin/tenants/settled/verification')).toMatchObject({ faults: [] })
    const { data } = await operate('GET', '/admin/audit?tenantId=settled')
    expect(data[0]).toMatchObject({
      ...{ action: 'POST /admin/receipts/:dispatchId/settle', target: 'req_t1.2', status: 200 },
      ...{ before: { reason: expect.stringMatching(/^proof: /) }, after: { counts: most, answer: 'late' } },
    })
  })

  it('[RCT22] a dismissed receipt is removed, and the audit log keeps its content', async () => {
    const tenant = await tenantOf('dismissed')
    await deliver([tenant.receipt('req_d1', { proof: '' })])
    const reader = await operatorKey(['tenants:read'])
    expect(await send('DELETE', '/admin/receipts/req_d1.1', undefined, reader)).toMatchObject({ status: 403 })
    expect(await send('DELETE', '/admin/receipts/req_d1.1')).toMatchObject({ status: 204 })
    expect(await send('GET', '/admin/receipts/req_d1.1')).toMatchObject({ status: 404 })
    expect((await operate('GET', '/admin/audit?tenantId=dismissed')).data[0]).toMatchObject({
      ...{ target: 'req_d1.1', before: { receipt: { requestId: 'req_d1' } } },
    })
  })

  it('[RCT23] each worker’s refused receipts are bounded, the oldest are dropped first, and no other worker loses any', async () => {
    const most = budgets.refusedReceiptsPerWorker.value
    const refused = (workerId: string, index: number) => ({
      ...{ workerId, dispatchId: `req_x${index}.1`, reason: 'proof: false', claims: { workerId, dispatchId: 'x' } },
    })
    await recordRefused(env.DB, [refused('quiet', 0)], 1)
    for (let from = 0; from < most + 100; from += 50) {
      const flood = Array.from({ length: 50 }, (_, index) => refused('flood', from + index))
      await recordRefused(env.DB, flood, 2)
    }
    const count = await env.DB.prepare(
      `SELECT count(*) AS n, min(first_at) AS at FROM refused_receipts WHERE worker_id = ?`,
    )
    expect(await count.bind('flood').first()).toEqual({ n: most, at: 2 })
    expect(await count.bind('quiet').first()).toEqual({ n: 1, at: 1 })
    expect(await send('GET', '/admin/receipts/req_x99.1')).toMatchObject({ status: 404 })
    expect(await send('GET', '/admin/receipts/req_x100.1')).toMatchObject({ status: 200 })
  })

  it('[RCT24] if two workers sent a receipt of one dispatch, the operator has to name the worker', async () => {
    const tenant = await tenantOf('claimed')
    await tenant.admit('req_c1')
    for (const workerId of ['w1', 'w2']) await deliver([tenant.receipt('req_c1', { workerId, proof: '' })], workerId)
    const path = '/admin/receipts/req_c1.1'
    expect(await send('GET', path)).toMatchObject({ status: 409, body: { param: 'worker_id' } })
    expect(await send('POST', `${path}/settle`, {})).toMatchObject({ status: 409, body: { param: 'worker_id' } })
    expect(await operate('GET', `${path}?workerId=w2`)).toMatchObject({ workerId: 'w2' })
    expect(await operate('POST', `${path}/settle`, { workerId: 'w2' })).toMatchObject({ answer: 'posted' })
    expect(await operate('GET', `${path}?workerId=w1`)).toMatchObject({ state: 'refused' })
  })

  it('[RCT25] a receipt for no request of its tenant, or an unreadable one, is not settled, and the answer says what to do', async () => {
    const tenant = await tenantOf('unreal')
    await tenant.admit('req_u1')
    await deliver([
      tenant.receipt('req_u0', { proof: '' }),
      tenant.receipt('req_u1', { dispatchId: 'req_u9.1', proof: '' }),
      tenant.receipt('req_u1', { dispatchId: 'req_u1.2', model: 'no-such-model', proof: '' }),
      tenant.receipt('req_u2', { tenantId: 'notenant', proof: '' }),
      { workerId: 'w1', dispatchId: 'req_u3.1', requestId: 7 },
    ])
    const answers: [string, number, RegExp][] = [
      ['req_u0.1', 404, /no such request/],
      ['req_u9.1', 409, /not a dispatch of this request/],
      ['req_u1.2', 409, /no rate card/],
      ['req_u2.1', 404, /tenant not found/],
      ['req_u3.1', 409, /requestId: .*Dismiss it/],
    ]
    for (const [id, status, message] of answers) {
      const answer = await send('POST', `/admin/receipts/${id}/settle`, {})
      expect(answer, id).toMatchObject({ status, body: { message: expect.stringMatching(message) } })
    }
    expect(await tenant.summary()).toMatchObject({ postedNano: 0, openReservations: 1 })
  })
})
