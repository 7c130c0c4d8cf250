/** Shared by the route tests: requests to the Worker, tenants with keys, receipts. */

import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import type { Receipt, Settlement } from '../../backends/wire/receipt.ts'
import { seal } from '../../backends/wire/seal.ts'
import { proofOf } from '../../src/auth/dispatch-proof.ts'
import { Secret } from '../../src/auth/secret.ts'
import { workerSealKey } from '../../src/auth/worker-key.ts'
import { newRequestId } from '../../src/chat/context.ts'
import { toCamel, toSnake } from '../../src/http/snake-case.ts'
import { noUsageLabels, type UsageLabels } from '../../src/tenant/usage/labels.ts'
import { testBeat } from '../support/fleet.ts'
import { fetchGateway } from './gateway.ts'

export const firstKey = 'tmop_test'

export interface Answer {
  status: number
  headers: Headers
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests read bodies of any shape.
  body: any
}

export async function send(
  method: string,
  path: string,
  body?: unknown,
  key: string | null = firstKey,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetchGateway(`https://gateway.test${path}`, {
    method,
    headers: {
      ...headers,
      ...(key !== null && { authorization: `Bearer ${key}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  const isJson = /^application\/json(;|$)/.test(response.headers.get('content-type') ?? '')
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined }
}

/** Sends a request with the first operator key, which must succeed. Names are camelCase here and snake_case on the wire. */
export async function operate(method: string, path: string, body?: unknown) {
  const answer = await send(method, path, toSnake(body))
  if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`)
  // biome-ignore lint/suspicious/noExplicitAny: tests read bodies of any shape.
  return toCamel(answer.body) as any
}

export async function openTenant(tenantId: string, more: Record<string, unknown> = {}): Promise<void> {
  await operate('POST', '/admin/tenants', { tenantId, name: tenantId, creditNano: 1_000_000_000, ...more })
}

export async function openKey(tenantId: string, body: Record<string, unknown> = {}) {
  return (await operate('POST', `/admin/tenants/${tenantId}/keys`, { name: 'k', ...body })) as {
    keyId: string
    apiKey: string
    prefix: string
  }
}

export function ask(key: string, model = 'tramontane-tiny'): Promise<Answer> {
  const messages = [{ role: 'user', content: 'hello' }]
  return send('POST', '/v1/chat/completions', { model, messages, max_tokens: 10 }, key)
}

let dispatches = 0

/** Settles one dispatch of `keyId`, as if a worker had run it. */
export async function use(
  tenantId: string,
  keyId: string,
  change: Partial<Settlement> = {},
  labels: UsageLabels = noUsageLabels,
): Promise<Settlement> {
  const stub = env.TENANT.getByName(tenantId)
  // Distinct times, so that the order of the ids is that of the calls.
  const requestId = newRequestId(Date.now() + ++dispatches)
  const secretHash = await keyHash(tenantId, keyId)
  const request = { requestId, keyId, secretHash, model: 'tramontane-tiny', promptTokens: 1_000, outputTokens: 1_000 }
  const admitted = await stub.admit({ ...request, unknownEffort: null, labels })
  if (!admitted.ok) throw new Error(admitted.message)
  const receipt: Settlement = {
    ...makeReceipt({ requestId, dispatchId: `${requestId}.1`, tenantId, keyId }),
    ...change,
  }
  await stub.settle([receipt])
  return receipt
}

/** A receipt of a dispatch with the terms of a request of 1,000 prompt and 1,000 output tokens. */
export function makeReceipt(change: Partial<Receipt>): Receipt {
  const receipt = {
    requestId: 'r',
    dispatchId: 'r.1',
    tenantId: 't',
    keyId: 'k',
    workerId: 'w1',
    model: 'tramontane-tiny',
    pool: 'latency' as const,
    effort: 'none' as const,
    outcome: 'finished' as const,
    finishReason: 'stop' as const,
    counts: { promptTokens: 100, cachedTokens: 40, outputTokens: 20, reasoningTokens: 5 },
    costNano: 21_600,
    estimated: false,
    startedAt: 1,
    endedAt: 2,
    firstTokenMs: 1,
    engine: 'e',
    terms: {
      costNanoMax: 750_000,
      promptTokensMax: 1_000,
      outputTokensMax: 1_000,
      rates: { inputNano: 150, cachedNano: 15, outputNano: 600 },
      issuedAt: 1,
    },
    ...change,
  }
  return { ...receipt, proof: change.proof ?? proofOf(fleet, { ...receipt, ...receipt.terms }) }
}

const fleet = new Secret(env.FLEET_SECRET)

export async function sealBy(
  kind: 'heartbeat' | 'receipt',
  claims: unknown,
  workerId: string,
  epoch: number,
  version?: number,
) {
  const key = await workerSealKey(new Secret(env.FLEET_SECRET), workerId, epoch)
  return seal(kind, claims as object, `${workerId}.${epoch}`, key, version)
}

/** Creates an operator key with only these scopes. */
export async function operatorKey(scopes: string[]): Promise<string> {
  return (await operate('POST', '/admin/operators', { name: scopes.join(' '), scopes })).operatorKey
}

/** The hash that the edge computes from the key. */
export async function keyHash(tenantId: string, keyId: string): Promise<string> {
  return runInDurableObject(env.TENANT.getByName(tenantId), (_, state) => {
    const row = state.storage.sql.exec('SELECT secret_hash FROM api_keys WHERE key_id = ?', keyId).one()
    return String(row.secret_hash)
  })
}

/** A heartbeat of a model that this gateway does not offer, so that no test request reaches the worker. */
export function heartbeatOf(workerId: string): Omit<Heartbeat, 'sentAt'> {
  const { sentAt: _, ...beat } = testBeat(workerId, { model: 'mistral-small-4' })
  return beat
}

/** Enrols a worker for the claims of `testBeat`; returns its row with its key. */
export function enrol(workerId: string, change: Record<string, unknown> = {}) {
  const models = ['tramontane-tiny', 'mistral-small-4']
  return operate('POST', '/admin/workers', { workerId, url: `http://127.0.0.1:9/${workerId}`, models, ...change })
}

/** Seals and sends a heartbeat, as a worker does. */
export async function sendBeat(beat: Heartbeat, epoch = 1): Promise<Answer> {
  const heartbeat = await sealBy('heartbeat', beat, beat.workerId, epoch)
  return send('POST', '/internal/heartbeat', { heartbeat }, null)
}
