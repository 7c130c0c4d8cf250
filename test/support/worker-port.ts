/** A worker's port on a real socket, with a scripted engine. Requests are signed as the edge signs them. */
import { mkdtempSync, rmSync } from 'node:fs'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CountQuestion, countPath } from '../../backends/wire/count.ts'
import { type Dispatch, dispatchPath, type Refusal } from '../../backends/wire/dispatch.ts'
import { type MediaQuestion, mediaPath } from '../../backends/wire/media-question.ts'
import { Prelude } from '../../backends/wire/prelude.ts'
import type { Receipt } from '../../backends/wire/receipt.ts'
import { digest, seal, sealKey } from '../../backends/wire/seal.ts'
import { createResolver } from '../../gpu-worker/media/resolver.ts'
import { Metrics } from '../../gpu-worker/metrics.ts'
import { Outbox } from '../../gpu-worker/outbox.ts'
import { createWorkerServer, type ServerParts } from '../../gpu-worker/server.ts'
import { Slots } from '../../gpu-worker/slots.ts'
import { testDispatch } from './fleet.ts'
import { ScriptedEngine } from './scripted-engine.ts'

const rates = { inputNano: 10, cachedNano: 1, outputNano: 100 }
let serial = 0

export class WorkerPort {
  readonly engine = new ScriptedEngine()
  readonly slots = new Slots(2)
  readonly metrics = new Metrics()
  readonly receipts: Receipt[] = []
  readonly logged: string[] = []
  readonly folder = mkdtempSync(join(tmpdir(), 'tramontane-port-'))
  readonly outbox = new Outbox(this.folder)
  draining = false
  origin = ''
  port = 0
  key!: CryptoKey
  server!: Server

  async open(change: Partial<ServerParts> = {}): Promise<this> {
    this.key = await sealKey(new Uint8Array(32).fill(3))
    const { key, engine, outbox, slots, metrics } = this
    this.server = createWorkerServer({
      ...{ workerId: 'w1', key, engine, outbox, slots, metrics },
      media: createResolver(() => Date.now()),
      now: () => Date.now(),
      callId: () => 'abcdefghi',
      log: (line) => void this.logged.push(line),
      draining: () => this.draining,
      deliver: () => undefined,
      changed: () => undefined,
      owed: async (receipt) => void this.receipts.push(receipt),
      health: () => ({ status: 'ready', engine: 'scripted' }),
      render: () => 'tramontane_engine_up 1\n',
      ...change,
    })
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    this.port = (this.server.address() as AddressInfo).port
    this.origin = `http://127.0.0.1:${this.port}`
    return this
  }

  async close(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
    this.outbox.close()
    rmSync(this.folder, { recursive: true, force: true })
  }

  async token(bytes: Uint8Array<ArrayBuffer>, change: Partial<Dispatch> = {}): Promise<string> {
    const dispatch = testDispatch(change.requestId ?? `req_${serial++}`, {
      bodyDigest: await digest(bytes),
      costNanoMax: 10 * 10 + 50 * 100,
      outputTokensMax: 50,
      rates,
      issuedAt: Date.now(),
      expiresAt: Date.now() + 1_000,
      ...change,
    })
    return seal('dispatch', dispatch, 'w1.1', this.key)
  }

  async dispatch(chat: object = {}, change: Partial<Dispatch> = {}, signal?: AbortSignal): Promise<Response> {
    const bytes = bodyOf(chat)
    return this.#post(dispatchPath, await this.token(bytes, change), bytes, signal)
  }

  async media(chat: object, change: Partial<MediaQuestion> = {}, signal?: AbortSignal): Promise<Response> {
    const bytes = bodyOf(chat)
    const question: MediaQuestion = {
      questionId: `q_${serial++}`,
      requestId: 'req_media',
      workerId: 'w1',
      tenantId: 't',
      bodyDigest: await digest(bytes),
      issuedAt: Date.now(),
      expiresAt: Date.now() + 60_000,
      ...change,
    }
    return this.#post(mediaPath, await seal('media', question, 'w1.1', this.key), bytes, signal)
  }

  async count(chat: object = {}, change: Partial<CountQuestion> = {}, signal?: AbortSignal): Promise<Response> {
    const bytes = bodyOf(chat)
    const question: CountQuestion = {
      ...{ workerId: 'w1', tenantId: 't', effort: 'none', expiresAt: Date.now() + 5_000 },
      bodyDigest: await digest(bytes),
      ...change,
    }
    return this.#post(countPath, await seal('count', question, 'w1.1', this.key), bytes, signal)
  }

  #post(path: string, token: string, body: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<Response> {
    const headers = { authorization: `Bearer ${token}` }
    return fetch(this.origin + path, { method: 'POST', headers, body, ...(signal && { signal }) })
  }
}

export function bodyOf(chat: object): Uint8Array<ArrayBuffer> {
  const body = { model: 'm', messages: [{ role: 'user', content: 'hi' }], stream: true, ...chat }
  return new TextEncoder().encode(JSON.stringify(body)) as Uint8Array<ArrayBuffer>
}

/** Reads a refusal. Before the head it has an HTTP status; after the head it is the prelude, and nothing follows. */
export async function refusalOf(answer: Response): Promise<Partial<Refusal> & { status: number }> {
  if (answer.status !== 200) return { status: answer.status, ...((await answer.json()) as { code: string }) }
  const { prelude, rest } = await preludeOf(answer)
  if (prelude.kind !== 'refused' || rest !== '') throw new Error('the request was not refused')
  return { status: 200, ...prelude.refusal }
}

/** Splits an answer into its first line, the prelude, and the rest. */
export async function preludeOf(answer: Response): Promise<{ prelude: Prelude; rest: string }> {
  const text = await answer.text()
  const at = text.indexOf('\n')
  return { prelude: Prelude.parse(JSON.parse(text.slice(0, at))), rest: text.slice(at + 1) }
}
