/** A rotation of the gateway's secrets, with both values in force, in workerd. */
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { Inquiry } from '../../backends/wire/inquiry.ts'
import { seal, sealedBy, sealKey, unseal } from '../../backends/wire/seal.ts'
import { newApiKey } from '../../src/auth/api-key.ts'
import { proofOf } from '../../src/auth/dispatch-proof.ts'
import { secretIdOf } from '../../src/auth/fleet-secret.ts'
import { newOperatorKey } from '../../src/auth/operator-key.ts'
import { Secret } from '../../src/auth/secret.ts'
import { sealFor, workerSealKey } from '../../src/auth/worker-key.ts'
import { noLimits } from '../../src/tenant/limits/limits.ts'
import { ask, enrol, heartbeatOf, keyHash, makeReceipt, openKey, openTenant, operate, send } from './client.ts'

const random = () => crypto.getRandomValues(new Uint8Array(30))
const macKeyOf = (secret: string) => sealKey(new TextEncoder().encode(secret) as Uint8Array<ArrayBuffer>)
const [current, previous] = [new Secret(env.FLEET_SECRET), new Secret(env.FLEET_SECRET_PREVIOUS)]

describe('a rotation', () => {
  it('[KEY10] keys of the previous secret work next to those of the current one, and new secrets use the current one', async () => {
    await openTenant('rota')
    const macKey = await macKeyOf(env.KEY_SECRET_PREVIOUS)
    const old = await newApiKey('live', 'rota', 'oldkey', random(), macKey)
    const row = { keyId: 'oldkey', name: 'old', prefix: old.prefix, secretHash: old.secretHash, role: 'owner' as const }
    const bounds = { models: null, class: null, allowedIps: null, expiresAt: null, limits: noLimits }
    await env.TENANT.getByName('rota').addKey({ ...row, ...bounds })
    expect((await ask(old.key.reveal())).status).toBe(503)
    expect((await send('GET', '/v1/usage', undefined, old.key.reveal())).status).toBe(200)
    const fresh = await send('POST', '/v1/keys/oldkey/rotate', { overlap_seconds: 60 }, old.key.reveal())
    expect(fresh.body).toMatchObject({ key_id: 'oldkey', rotated_at: expect.any(Number) })
    expect((await ask(fresh.body.api_key)).status).toBe(503)
    const unknown = await newApiKey('live', 'rota', 'oldkey', random(), await macKeyOf('x'.repeat(40)))
    expect((await ask(unknown.key.reveal())).status).toBe(401)

    const operator = await newOperatorKey(random(), macKey)
    const insert =
      'INSERT INTO operator_keys (key_id, name, prefix, secret_hash, scopes, created_at) VALUES (?, ?, ?, ?, ?, 0)'
    const values = [operator.keyId, 'old', operator.prefix, operator.secretHash, '["tenants:read"]']
    await env.DB.prepare(insert)
      .bind(...values)
      .run()
    expect((await send('GET', '/admin/tenants/rota', undefined, operator.key.reveal())).status).toBe(200)
  })

  it('[KEY11] heartbeats, receipts and proofs of the previous fleet secret are accepted, and messages are sealed with the secret of the worker’s key', async () => {
    await openTenant('rotb')
    const { keyId } = await openKey('rotb')
    for (const workerId of ['rot-old', 'rot-new']) await enrol(workerId)
    const beats = [
      ['rot-old', previous],
      ['rot-new', current],
    ] as const
    for (const [workerId, secret] of beats) {
      const claims = { ...heartbeatOf(workerId), sentAt: Date.now() }
      const heartbeat = await seal('heartbeat', claims, `${workerId}.1`, await workerSealKey(secret, workerId, 1))
      expect((await send('POST', '/internal/heartbeat', { heartbeat }, null)).status, workerId).toBe(200)
    }
    const { present } = await env.FLEET.getByName('fleet').registry()
    for (const [workerId, secret] of beats) {
      const endpoint = present.find((each) => each.workerId === workerId)
      if (!endpoint) throw new Error(`${workerId} is not known`)
      expect(endpoint.secretId).toBe(await secretIdOf(secret))
      const token = await sealFor([current, previous], endpoint, 'inquiry', { workerId, requestIds: [], expiresAt: 1 })
      expect(sealedBy(token)).toBe(`${workerId}.1`)
      const opened = await Promise.all(
        [current, previous].map(async (each) =>
          unseal('inquiry', token, await workerSealKey(each, workerId, 1), Inquiry),
        ),
      )
      expect(opened.map(({ kind }) => kind)).toEqual(secret === current ? ['read', 'invalid'] : ['invalid', 'read'])
    }

    // A dispatch from before the rotation, whose receipt arrives after it.
    const stub = env.TENANT.getByName('rotb')
    const [requestId, secretHash] = ['req_rotb_1', await keyHash('rotb', keyId)]
    const model = 'tramontane-tiny'
    await stub.admit({
      requestId,
      keyId,
      secretHash,
      model,
      promptTokens: 1_000,
      outputTokens: 1_000,
      unknownEffort: null,
    })
    const ids = { requestId, dispatchId: `${requestId}.1`, tenantId: 'rotb', keyId, workerId: 'rot-old' }
    const settle = async (secret: Secret) => {
      const receipt = makeReceipt(ids)
      const claims = { ...receipt, proof: proofOf(secret, { ...receipt, ...receipt.terms }) }
      const token = await seal('receipt', claims, 'rot-old.1', await workerSealKey(previous, 'rot-old', 1))
      return (await send('POST', '/internal/receipts', { receipts: [token] }, null)).body
    }
    expect(await settle(new Secret('z'.repeat(40)))).toMatchObject({
      done: [],
      refused: [{ dispatchId: ids.dispatchId }],
    })
    expect(await settle(previous)).toMatchObject({ done: [ids.dispatchId], refused: [] })
    expect(await operate('GET', '/admin/tenants/rotb')).toMatchObject({ postedNano: 21_600, openReservations: 0 })
  })
})
