/** The version of the protocol: which messages each side reads, and how each side refuses the others. */
import { mkdtempSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { CountQuestion, countPath } from '../../../backends/wire/count.ts'
import { Dispatch, dispatchPath } from '../../../backends/wire/dispatch.ts'
import { Heartbeat, HeartbeatAnswer, heartbeatPath } from '../../../backends/wire/heartbeat.ts'
import { Inquiry, inquiryPath } from '../../../backends/wire/inquiry.ts'
import { MediaQuestion, mediaPath } from '../../../backends/wire/media-question.ts'
import { protocolVersion, unspokenText } from '../../../backends/wire/protocol.ts'
import { Receipt, ReceiptsCall, receiptsPath } from '../../../backends/wire/receipt.ts'
import { type Seal, seal, sealKey, unseal } from '../../../backends/wire/seal.ts'
import { readConfig } from '../../../gpu-worker/config.ts'
import { createWorker, type GpuWorker } from '../../../gpu-worker/worker.ts'
import { freePort } from '../../support/product.ts'
import { ScriptedEngine } from '../../support/scripted-engine.ts'
import { claimsOf, exchange, recordedAt, recordedSecret, workerKey } from './version-1.ts'

const messages = [
  ['dispatch', dispatchPath, Dispatch],
  ['count', countPath, CountQuestion],
  ['media', mediaPath, MediaQuestion],
  ['inquiry', inquiryPath, Inquiry],
  ['heartbeat', heartbeatPath, Heartbeat],
  ['receipt', receiptsPath, Receipt],
] as const
const toWorker = messages.slice(0, 4)

const open: (Server | GpuWorker)[] = []
afterEach(async () => {
  for (const each of open.splice(0)) {
    if ('stop' in each) await each.stop()
    else each.close()
  }
})

interface FakeEdge {
  url: string
  heartbeats: Record<string, unknown>[]
  receipts: string[]
  /** The answer to the next heartbeats. */
  answer: { status: number; body: string }
}

/** An edge that gives the recorded answers. */
async function fakeEdge(): Promise<FakeEdge> {
  const edge: FakeEdge = {
    ...{ url: '', heartbeats: [], receipts: [] },
    answer: { status: 200, body: exchange(heartbeatPath).answer },
  }
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    const beats = request.url === heartbeatPath
    if (beats) edge.heartbeats.push(claimsOf(JSON.parse(text).heartbeat))
    else edge.receipts.push(...ReceiptsCall.parse(JSON.parse(text)).receipts)
    const { status, body } = beats ? edge.answer : { status: 200, body: exchange(receiptsPath).answer }
    response.writeHead(status, { 'content-type': 'application/json' }).end(body)
  })
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  edge.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return edge
}

async function startWorker(edge: FakeEdge) {
  const logged: string[] = []
  const engine = new ScriptedEngine()
  engine.description = { ...engine.description, contextTokens: 262_144 }
  const home = mkdtempSync(join(tmpdir(), 'tramontane-protocol-'))
  const [port, operatorPort] = [await freePort(), await freePort()]
  const config = readConfig({
    ...{ TRAMONTANE_WORKER_KEY: workerKey, TRAMONTANE_EDGE_URL: edge.url, TRAMONTANE_HOME: home },
    ...{ TRAMONTANE_MODEL_ID: 'tramontane-tiny', TRAMONTANE_DRAIN_MS: '100' },
    ...{ TRAMONTANE_WORKER_PORT: String(port), TRAMONTANE_METRICS_PORT: String(operatorPort) },
  })
  const log = (line: string) => void logged.push(line)
  const worker = await createWorker(config, { engine, now: () => recordedAt, callId: () => 'call00001', log })
  open.unshift(worker)
  return { worker, logged, url: `http://127.0.0.1:${port}`, operator: `http://127.0.0.1:${operatorPort}` }
}

async function post(url: string, token: string, body: string) {
  const answer = await fetch(url, { method: 'POST', headers: { authorization: `Bearer ${token}` }, body })
  return { status: answer.status, text: await answer.text() }
}

async function sealedAs(version: number, kind: Seal, path: string): Promise<string> {
  return seal(kind, claimsOf(exchange(path).token), 'gpu-1.1', await sealKey(recordedSecret), version)
}

/** Fields of an answer that are newer than the recordings: an edge of version 1 passes them on unread. */
const addedSince = /,"cost":[\d.e-]+,"cost_nano":\d+/

describe('the protocol', () => {
  it('[WPV1] every recorded message of version 1 is read, and is written again byte for byte', async () => {
    const key = await sealKey(recordedSecret)
    for (const [kind, path, schema] of messages) {
      const { token } = exchange(path)
      const read = await unseal(kind, token, key, schema)
      expect(read, kind).toMatchObject({ kind: 'read', claims: claimsOf(token) })
      expect(await seal(kind, claimsOf(token), 'gpu-1.1', key, 1), kind).toBe(token)
    }
    expect(HeartbeatAnswer.parse(JSON.parse(exchange(heartbeatPath).answer)).protocol).toBe(1)
  })

  it('[WPV1] a worker serves an edge of version 1 with the recorded answers, and that edge reads its messages', async () => {
    const edge = await fakeEdge()
    const { worker, url } = await startWorker(edge)
    await worker.start()
    for (const [kind, path] of toWorker) {
      const { token, body, answer } = exchange(path)
      const { status, text } = await post(url + path, token, body)
      expect(status, kind).toBe(200)
      expect(withoutTimes(text.replace(addedSince, '')), kind).toBe(withoutTimes(answer))
    }
    await expect.poll(() => edge.receipts.length).toBe(1)
    // An edge of version 1 ignores the version and the capabilities, which are the only additions.
    for (const [sent, path] of [
      [claimsOf(edge.receipts[0] ?? ''), receiptsPath],
      [edge.heartbeats[0] ?? {}, heartbeatPath],
    ] as const) {
      const { protocol, capabilities: _, ...claims } = sent
      expect(protocol).toBe(protocolVersion)
      expect(Object.keys(claims).sort()).toEqual(Object.keys(claimsOf(exchange(path).token)).sort())
    }
  })

  it('[WPV2] a worker refuses each message of a version that it does not read by name, unread and without a client error', async () => {
    const edge = await fakeEdge()
    const { worker, url } = await startWorker(edge)
    await worker.start()
    for (const [kind, path] of toWorker) {
      const { status, text } = await post(url + path, await sealedAs(3, kind, path), exchange(path).body)
      expect([status, JSON.parse(text)], kind).toEqual([
        503,
        {
          code: 'protocol_version',
          message:
            'the gateway writes protocol version 3, and this worker reads versions 1 and 2. Upgrade this worker.',
          param: null,
        },
      ])
    }
    const forged = await seal('dispatch', claimsOf(exchange(dispatchPath).token), 'gpu-1.1', await otherKey(), 3)
    expect((await post(url + dispatchPath, forged, '')).status).toBe(401)
    for (const wrong of ['2', 0, 1.5, null, {}]) {
      const claims = { ...claimsOf(exchange(dispatchPath).token), protocol: wrong }
      const token = await seal('dispatch', claims, 'gpu-1.1', await sealKey(recordedSecret), 1)
      expect((await post(url + dispatchPath, token, '')).status, String(wrong)).toBe(401)
    }
  })

  it('[WPV3] a worker whose edge writes another version does not start, says why, reports itself down, and starts after the upgrade', async () => {
    const edge = await fakeEdge()
    const answer = (protocol: number, change: object = {}) =>
      JSON.stringify({ edgeNow: recordedAt, state: 'a state of the future', protocol, ...change })
    edge.answer = { status: 403, body: answer(4, { reason: 'worker gpu-1 writes protocol version 2' }) }
    const { worker, logged, operator } = await startWorker(edge)
    let started = false
    const starting = worker.start().then(() => {
      started = true
    })
    const health = async () => (await fetch(`${operator}/healthz`).catch(() => undefined))?.json()
    const reason = unspokenText('the gateway', 4, 'this worker')
    expect(reason).toBe(
      'the gateway writes protocol version 4, and this worker reads versions 1 and 2. Upgrade this worker.',
    )
    await expect.poll(health).toMatchObject({ status: 'incompatible', reason, protocol: 2 })
    // An edge that accepts the heartbeat still sends requests that this worker cannot read.
    edge.answer = { status: 200, body: answer(3) }
    await expect.poll(() => edge.heartbeats.at(-1)).toMatchObject({ state: 'down', protocol: 2 })
    expect(logged.filter((line) => line.startsWith('heartbeat refused'))).toEqual([`heartbeat refused: ${reason}`])
    expect(started).toBe(false)
    // An edge that is one version behind reads nothing of this worker, and only its own answer says so.
    edge.answer = { status: 403, body: answer(1, { state: 'incompatible', reason: 'Upgrade this edge.' }) }
    await expect
      .poll(health, { timeout: 5_000 })
      .toMatchObject({ status: 'incompatible', reason: 'Upgrade this edge.' })
    edge.answer = { status: 200, body: answer(2) }
    await starting
    await expect.poll(() => edge.heartbeats.at(-1)?.state, { timeout: 5_000 }).toBe('ready')
    expect(await health()).toMatchObject({ status: 'ready', protocol: 2 })
    expect(await health()).not.toHaveProperty('reason')
  })

  it('[WPV4] a refusal names both sides’ versions, and the side to upgrade', () => {
    expect(unspokenText('worker a', 9, 'this edge')).toBe(
      'worker a writes protocol version 9, and this edge reads versions 1 and 2. Upgrade this edge.',
    )
    expect(unspokenText('worker a', 0, 'this edge')).toMatch(/Upgrade worker a\.$/)
  })
})

const otherKey = () => sealKey(new Uint8Array(32).fill(9))

function withoutTimes(text: string): string {
  return text.replace(/"created":\d+/g, '"created":0')
}
