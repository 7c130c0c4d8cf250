import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { beforeAll, describe, expect, it } from 'vitest'
import { Dispatch } from '../../../backends/wire/dispatch.ts'
import { digest, seal, sealKey, unseal } from '../../../backends/wire/seal.ts'
import { acceptDispatch, UsedDispatches } from '../../../gpu-worker/accept-dispatch.ts'
import { readSignedBody } from '../../../gpu-worker/signed-body.ts'
import { testDispatch } from '../../support/fleet.ts'

const body = new TextEncoder().encode('{"a":1}') as Uint8Array<ArrayBuffer>
let key: CryptoKey
let claims: Dispatch

beforeAll(async () => {
  key = await sealKey(new Uint8Array(32).fill(1))
  claims = testDispatch('r1', { bodyDigest: await digest(body), issuedAt: 1_000, expiresAt: 31_000 })
})

async function present(
  change: Partial<Dispatch> = {},
  options: { now?: number; kind?: 'dispatch' | 'receipt'; used?: UsedDispatches } = {},
) {
  const token = await seal(options.kind ?? 'dispatch', { ...claims, ...change }, 'w1.1', key)
  const self = { workerId: 'w1', key, used: options.used ?? new UsedDispatches() }
  return acceptDispatch(`Bearer ${token}`, self, options.now ?? 2_000)
}

async function bodyOf(text: string) {
  const read = await readSignedBody(Readable.from([Buffer.from(text)]) as IncomingMessage, await digest(body))
  return read.kind === 'refused' ? { ok: false, ...read.refusal } : { ok: true, ...read }
}

describe('dispatch', () => {
  it('[DSP1] a worker accepts a dispatch of its edge for itself and this body', async () => {
    expect(await present()).toMatchObject({ ok: true, claims: { requestId: 'r1' } })
    expect(await bodyOf(new TextDecoder().decode(body))).toMatchObject({ ok: true, kind: 'read' })
  })

  it('[DSP2] a worker accepts a dispatch only once', async () => {
    const used = new UsedDispatches()
    expect((await present({}, { used })).ok).toBe(true)
    expect(await present({}, { used })).toMatchObject({ ok: false, code: 'replayed_dispatch' })
    expect((await present({ dispatchId: 'r1.2' }, { used })).ok).toBe(true)
  })

  it('[DSP3] a dispatch for another worker or body, of another kind, expired or from the future is refused', async () => {
    const refused = [
      present({ workerId: 'w2' }),
      present({}, { now: 31_000 + 5_001 }),
      present({ issuedAt: 10_000 }, { now: 1_000 }),
      bodyOf('{"a":2}'),
      present({}, { kind: 'receipt' }),
    ]
    for (const answer of await Promise.all(refused)) expect(answer).toMatchObject({ ok: false, code: 'bad_dispatch' })
  })

  it('[DSP4] a changed token, a token of another key and a missing token are refused', async () => {
    const token = await seal('dispatch', claims, 'w1.1', key)
    const other = await sealKey(new Uint8Array(32).fill(2))
    expect(await unseal('dispatch', token, other, Dispatch)).toEqual({ kind: 'invalid' })
    for (let index = 0; index < token.length; index += 7) {
      const changed = token.slice(0, index) + (token[index] === 'A' ? 'B' : 'A') + token.slice(index + 1)
      expect(await unseal('dispatch', changed, key, Dispatch), String(index)).toEqual({ kind: 'invalid' })
    }
    expect(await acceptDispatch(undefined, { workerId: 'w1', key, used: new UsedDispatches() }, 2_000)).toMatchObject({
      ok: false,
    })
  })

  it('[DSP5] a used id is remembered only while it could be presented again', () => {
    const used = new UsedDispatches()
    expect(used.use('a', 0)).toBe(true)
    expect(used.use('a', 39_999)).toBe(false)
    expect(used.use('b', 40_000)).toBe(true)
    expect(used.use('a', 40_001)).toBe(true)
  })
})
