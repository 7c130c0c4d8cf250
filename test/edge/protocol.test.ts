/** Workers of other protocol versions at the edge: version 1 is served, and an unknown version is refused by name. */
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { heartbeatPath } from '../../backends/wire/heartbeat.ts'
import { receiptsPath } from '../../backends/wire/receipt.ts'
import { claimsOf, exchange, workerKey } from '../backends/wire/version-1.ts'
import { enrol, keyHash, makeReceipt, openKey, openTenant, operate, sealBy, send } from './client.ts'

const fleet = () => env.FLEET.getByName('fleet')
const recordedBeat = () => ({ ...claimsOf(exchange(heartbeatPath).token), model: 'mistral-small-4' })

async function beat(workerId: string, version: number, claims: object, epoch = 1) {
  const heartbeat = await sealBy('heartbeat', { ...claims, workerId, sentAt: Date.now() }, workerId, epoch, version)
  return send('POST', heartbeatPath, { heartbeat }, null)
}

async function inPools(workerId: string) {
  const pools = (await operate('GET', '/admin/pools')) as Record<string, { workers: { workerId: string }[] }>
  return Object.entries(pools).flatMap(([pool, { workers }]) =>
    workers.filter((each) => each.workerId === workerId).map((each) => ({ pool, ...each })),
  )
}

async function tenantOf(tenantId: string) {
  await openTenant(tenantId)
  const { keyId } = await openKey(tenantId)
  return async (requestId: string) => {
    const secretHash = await keyHash(tenantId, keyId)
    const tokens = { promptTokens: 1_000, outputTokens: 1_000, unknownEffort: null }
    const admission = { requestId, keyId, secretHash, model: 'tramontane-tiny', ...tokens }
    expect(await env.TENANT.getByName(tenantId).admit(admission)).toMatchObject({ ok: true })
    return makeReceipt({ requestId, dispatchId: `${requestId}.1`, tenantId, keyId, workerId: 'gpu-1' })
  }
}

describe('protocol versions at the edge', () => {
  it('[WPV5] a worker of version 1 serves: its heartbeat is accepted, and the edge writes to it in version 1', async () => {
    const { workerKey: key } = await enrol('gpu-1', { url: 'http://127.0.0.1:47311' })
    expect(key).toBe(workerKey)
    const answer = await beat('gpu-1', 1, recordedBeat())
    expect(answer).toMatchObject({ status: 200, body: { state: 'ready', protocol: 1 } })
    expect(await inPools('gpu-1')).toMatchObject([{ pool: 'latency', state: 'ready', slots: 8 }])
    const endpointOf = async (workerId: string) =>
      (await fleet().registry()).present.find((each) => each.workerId === workerId)
    expect(await endpointOf('gpu-1')).toMatchObject({ protocol: 1, keyEpoch: 1 })
    // The same worker after its upgrade.
    const upgraded = {
      ...recordedBeat(),
      instance: 'upgraded',
      replaces: claimsOf(exchange(heartbeatPath).token).instance,
    }
    expect(await beat('gpu-1', 2, upgraded)).toMatchObject({ status: 200, body: { protocol: 2 } })
    expect(await endpointOf('gpu-1')).toMatchObject({ protocol: 2 })
  })

  it('[WPV5] the recorded receipt of version 1 is opened and judged, and receipts of version 1 settle', async () => {
    const { body } = exchange(receiptsPath)
    await openTenant('demo')
    const recorded = await send('POST', receiptsPath, JSON.parse(body), null)
    const reason = 'requestId: the tenant has no reservation with this id'
    const { dispatchId } = claimsOf(exchange(receiptsPath).token)
    expect(recorded).toMatchObject({ status: 200, body: { done: [], refused: [{ dispatchId, reason }] } })
    const admit = await tenantOf('older')
    const receipt = await sealBy('receipt', await admit('req_old'), 'gpu-1', 1, 1)
    expect((await send('POST', receiptsPath, { receipts: [receipt] }, null)).body).toEqual({
      done: ['req_old.1'],
      refused: [],
    })
  })

  it('[WPV6] a worker of an unknown version gets 403 with both versions and the side to upgrade, and `/admin/pools` shows it without slots', async () => {
    await enrol('future', { url: 'http://127.0.0.1:47312' })
    // The claims of a future version may have any form.
    const answer = await beat('future', 3, { ...recordedBeat(), url: undefined, slotsMax: 'many' })
    const reason = 'worker future writes protocol version 3, and this edge reads versions 1 and 2. Upgrade this edge.'
    expect(answer).toMatchObject({ status: 403, body: { state: 'incompatible', protocol: 2, reason } })
    expect(await inPools('future')).toMatchObject([{ state: 'incompatible', reason, slots: 0, leased: 0 }])
    expect(await operate('GET', '/admin/workers/future')).toMatchObject({ state: 'incompatible', reason })
    expect((await fleet().registry()).present.map(({ workerId }) => workerId)).not.toContain('future')
  })

  it('[WPV6] an unknown version does not pass the checks of the key: no enrolment, a rotated key, a wrong signature', async () => {
    expect((await beat('stranger', 3, recordedBeat())).body.reason).toMatch(/not enrolled/)
    await env.DB.prepare('INSERT INTO workers (worker_id, epoch, enrolled_at, url) VALUES (?, 1, 1, ?)')
      .bind('silent', 'http://127.0.0.1:47313')
      .run()
    // The operator's database knows this worker; the fleet object asks it once.
    expect((await beat('silent', 3, recordedBeat())).body.reason).toMatch(/protocol version 3/)
    await enrol('rotated')
    await operate('POST', '/admin/workers/rotated/revoke')
    expect((await beat('rotated', 3, recordedBeat())).body.reason).toMatch(/rotated or revoked/)
    const heartbeat = await sealBy('heartbeat', recordedBeat(), 'future', 1, 3)
    const forged = await send('POST', heartbeatPath, { heartbeat: `${heartbeat.slice(0, -6)}AAAAAA` }, null)
    expect([forged.status, forged.body.reason]).toEqual([403, undefined])
  })

  it('[WPV7] receipts of an unknown version are refused by name as a whole call, so their worker keeps them', async () => {
    const admit = await tenantOf('later')
    const claims = await admit('req_later')
    const receipt = await sealBy('receipt', claims, 'gpu-1', 1, 3)
    const answer = await send('POST', receiptsPath, { receipts: [receipt] }, null)
    expect(answer.status).toBe(403)
    expect(answer.text).toContain('worker gpu-1 writes protocol version 3, and this edge reads versions 1 and 2')
    expect(await operate('GET', '/admin/tenants/later')).toMatchObject({ postedNano: 0, openReservations: 1 })
    const { data } = await operate('GET', '/admin/receipts?workerId=gpu-1')
    expect(data.map((each: { requestId: string }) => each.requestId)).not.toContain('req_later')
    const again = await sealBy('receipt', claims, 'gpu-1', 1)
    expect((await send('POST', receiptsPath, { receipts: [again] }, null)).body.done).toEqual(['req_later.1'])
  })
})
