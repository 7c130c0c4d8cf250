/**
 * The load generator, its own process. Each order is one cell of the bench: a list of intended start times, or a number
 * of requests to send one after another. Latency counts from the intended start, so a server that delays the generator
 * is charged for the delay. Dispatches for a direct call of a worker are signed before the clock starts.
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { type Dispatch, dispatchTtlMs } from '../../../backends/wire/dispatch.ts'
import { digest, seal, sealKey } from '../../../backends/wire/seal.ts'
import { keyIdOf, parseWorkerKey } from '../../../backends/wire/worker-key.ts'

export interface LoadOrder {
  url: string
  auth: { kind: 'key'; apiKey: string } | { kind: 'dispatch'; workerKey: string; claims: DirectClaims }
  /** Bodies, used in turn. */
  bodies: string[]
  /** Intended start times in milliseconds, or the number of requests to send one after another. */
  plan: { kind: 'arrivals'; atMs: number[] } | { kind: 'sequence'; count: number }
}

/** The fields of a dispatch that the generator does not create itself. */
export type DirectClaims = Pick<
  Dispatch,
  | 'tenantId'
  | 'keyId'
  | 'model'
  | 'pool'
  | 'effort'
  | 'priority'
  | 'costNanoMax'
  | 'promptTokensMax'
  | 'outputTokensMax'
  | 'rates'
>

export interface LoadAnswer {
  firstTokenMs: number[]
  totalMs: number[]
  promptTokens: number[]
  outputTokens: number[]
  /** From the first intended start to the last end. */
  wallMs: number
  /** One line per failed request; empty in a valid run. */
  faults: string[]
}

interface Shot {
  body: Uint8Array<ArrayBuffer>
  authorization: string
}

const requestMsMax = 30_000
const agent = new Agent({ keepAlive: true, maxSockets: 512 })
let sent = 0

async function run(order: LoadOrder): Promise<LoadAnswer> {
  const count = order.plan.kind === 'arrivals' ? order.plan.atMs.length : order.plan.count
  const shots = await loadShots(order, count)
  const answer: LoadAnswer = {
    firstTokenMs: [],
    totalMs: [],
    promptTokens: [],
    outputTokens: [],
    wallMs: 0,
    faults: [],
  }
  const url = new URL(order.url)
  const beganAt = performance.now()
  if (order.plan.kind === 'sequence') {
    for (const shot of shots) await fire(url, shot, performance.now(), answer)
  } else {
    const { atMs } = order.plan
    await Promise.all(
      shots.map(async (shot, index) => {
        const intended = beganAt + (atMs[index] ?? 0)
        await until(intended)
        await fire(url, shot, intended, answer)
      }),
    )
  }
  answer.wallMs = performance.now() - beganAt
  return answer
}

async function loadShots(order: LoadOrder, count: number): Promise<Shot[]> {
  const { auth } = order
  const bodies = order.bodies.map((body) => new TextEncoder().encode(body) as Uint8Array<ArrayBuffer>)
  const authorization = auth.kind === 'key' ? async () => `Bearer ${auth.apiKey}` : await signer(auth)
  return Promise.all(
    Array.from({ length: count }, async () => {
      const body = bodies[sent++ % bodies.length] ?? new Uint8Array()
      return { body, authorization: await authorization(body) }
    }),
  )
}

async function signer(auth: LoadOrder['auth'] & { kind: 'dispatch' }) {
  const workerKey = parseWorkerKey(auth.workerKey)
  if (!workerKey) throw new Error('not a worker key')
  const key = await sealKey(workerKey.secret)
  return async (body: Uint8Array<ArrayBuffer>) => {
    const id = crypto.randomUUID()
    const now = Date.now()
    const dispatch: Dispatch = {
      ...auth.claims,
      dispatchId: `${id}.1`,
      requestId: id,
      workerId: workerKey.workerId,
      // No gateway settles these receipts.
      proof: 'p'.repeat(43),
      bodyDigest: await digest(body),
      settleFirst: false,
      issuedAt: now,
      expiresAt: now + dispatchTtlMs,
    }
    return `Bearer ${await seal('dispatch', dispatch, keyIdOf(workerKey), key)}`
  }
}

/** Timers are up to a millisecond late, so spin the loop for the last two milliseconds. */
async function until(at: number): Promise<void> {
  const early = at - performance.now() - 2
  if (early > 0) await delay(early)
  while (performance.now() < at) await new Promise((resolve) => setImmediate(resolve))
}

async function fire(url: URL, shot: Shot, intended: number, answer: LoadAnswer): Promise<void> {
  try {
    const response = await post(url, shot)
    const { firstAt, text } = await read(response)
    if (response.statusCode !== 200) throw new Error(`HTTP ${response.statusCode} ${text.slice(0, 200)}`)
    if (firstAt === undefined || !text.endsWith('data: [DONE]\n\n'))
      throw new Error(`the stream was cut off: ${text.slice(-200)}`)
    answer.firstTokenMs.push(firstAt - intended)
    answer.totalMs.push(performance.now() - intended)
    answer.promptTokens.push(counted(text, 'prompt_tokens'))
    answer.outputTokens.push(counted(text, 'completion_tokens'))
  } catch (error) {
    answer.faults.push(error instanceof Error ? error.message : String(error))
  }
}

function post(url: URL, shot: Shot): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: shot.authorization,
      'content-type': 'application/json',
      'content-length': shot.body.byteLength,
    }
    const sending = request(url, { method: 'POST', agent, headers, timeout: requestMsMax }, resolve)
    sending.on('timeout', () => sending.destroy(new Error(`no answer within ${requestMsMax} ms`)))
    sending.on('error', reject)
    sending.end(shot.body)
  })
}

/** The first event is the first token; keep-alive comments do not count. */
async function read(response: IncomingMessage): Promise<{ firstAt: number | undefined; text: string }> {
  let firstAt: number | undefined
  let text = ''
  response.setEncoding('utf8')
  for await (const part of response as AsyncIterable<string>) {
    text += part
    if (firstAt === undefined && text.includes('data: ')) firstAt = performance.now()
  }
  return { firstAt, text }
}

function counted(text: string, field: string): number {
  return Number(new RegExp(`"${field}":(\\d+)`).exec(text.slice(-1_000))?.[1] ?? Number.NaN)
}

process.on('disconnect', () => process.exit(0))
process.on('message', async (order: LoadOrder) => process.send?.(await run(order)))
process.send?.({ kind: 'ready' })
