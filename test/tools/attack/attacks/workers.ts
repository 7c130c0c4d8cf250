/** A worker's port without a key, and a worker whose key was stolen. */
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { seal, sealKey } from '../../../../backends/wire/seal.ts'
import { keyIdOf, parseWorkerKey } from '../../../../backends/wire/worker-key.ts'
import { Secret } from '../../../../src/auth/secret.ts'
import { newWorkerKey } from '../../../../src/auth/worker-key.ts'
import { eventually } from '../../../support/product.ts'
import { type Attack, inTurn, times, wait } from '../attack.ts'
import type { Answer, World } from '../world.ts'

async function workerPorts(world: World): Promise<number[]> {
  const pools = await world.product.admin<Record<string, { workers: { url: string }[] }>>('GET', '/admin/pools')
  return Object.values(pools).flatMap(({ workers }) => workers.map(({ url }) => Number(new URL(url).port)))
}

/** Opens connections that send a head, part of a body, then nothing. Resolves when all have ended. */
async function hold(world: World, count: number, head: string, bytes: number, ms: number): Promise<Answer[]> {
  const ports = await workerPorts(world)
  return times(count, (index) => {
    const startedAt = performance.now()
    return new Promise<Answer>((resolve) => {
      const socket = connect(ports[index % ports.length] ?? 0, '127.0.0.1')
      let text = ''
      const done = () =>
        resolve({
          status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0),
          text,
          headers: new Headers(),
          ms: Math.round(performance.now() - startedAt),
        })
      socket.on('error', done)
      socket.on('close', done)
      socket.on('data', (part) => {
        text += part.toString('latin1').slice(0, 1_000)
      })
      socket.write(head)
      const block = Buffer.alloc(65_536, 'a')
      const more = (left: number) => {
        if (left <= 0 || socket.destroyed) return
        socket.write(block, () => more(left - block.length))
      }
      more(bytes)
      setTimeout(() => socket.destroy(), ms)
    })
  })
}

const mebibyte = 1_048_576
const head = (path: string, length: number) => `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n\r\n`

/** The data that a thief of one worker's environment has. */
async function stolenKey(world: World, workerId = 'local-latency') {
  const state = JSON.parse(readFileSync(join(world.product.home, 'state.json'), 'utf8')) as { fleetSecret: string }
  const key = parseWorkerKey(await newWorkerKey(new Secret(state.fleetSecret), workerId, 1))
  if (!key) throw new Error('no worker key')
  return { workerId, kid: keyIdOf(key), key: await sealKey(key.secret) }
}

function forged(world: World, workerId: string, requestId: string, index: number, change: object = {}) {
  return {
    requestId,
    dispatchId: `${requestId}.${index}`,
    tenantId: world.attacker.tenantId,
    keyId: world.attacker.apiKey.split('_')[3],
    workerId,
    model: world.model,
    pool: 'latency',
    effort: 'none',
    outcome: 'finished',
    finishReason: 'stop',
    counts: { promptTokens: 10, cachedTokens: 0, outputTokens: 10, reasoningTokens: 0 },
    costNano: 1_000_000,
    estimated: false,
    startedAt: Date.now() - 10,
    endedAt: Date.now(),
    firstTokenMs: 1,
    engine: 'forged',
    ...change,
  }
}

async function deliver(world: World, receipts: object[]): Promise<Answer> {
  const { kid, key } = await stolenKey(world)
  const tokens = await Promise.all(receipts.map((receipt) => seal('receipt', receipt, kid, key)))
  return world.send('/internal/receipts', { receipts: tokens }, { key: null })
}

const spent = async (world: World) => (await world.product.tenant(world.attacker.tenantId)).postedNano

export const workerAttacks: readonly Attack[] = [
  {
    name: 'worker-port-bodies',
    quick: true,
    run: (world) => hold(world, 16, head('/dispatch', 32 * mebibyte), 31 * mebibyte, 8_000),
    expect: (answers) => {
      const held = answers.filter(({ ms }) => ms >= 7_900).length
      return held > 0 ? `${held} connections without a key were still open after 8 s` : undefined
    },
  },
  { name: 'worker-port-counts', run: (world) => hold(world, 16, head('/count', 32 * mebibyte), 31 * mebibyte, 8_000) },
  { name: 'worker-port-media', run: (world) => hold(world, 16, head('/media', 32 * mebibyte), 31 * mebibyte, 8_000) },
  {
    name: 'worker-port-inquiries',
    run: (world) => hold(world, 16, head('/inquiry', 32 * mebibyte), 31 * mebibyte, 8_000),
  },
  {
    name: 'worker-port-slow-heads',
    run: (world) => hold(world, 200, 'POST /dispatch HTTP/1.1\r\nhost: x\r\nx-a:', 0, 15_000),
  },
  {
    name: 'worker-port-details',
    quick: true,
    run: async (world) => {
      const ports = await workerPorts(world)
      const ask = async (path: string): Promise<Answer> => {
        const response = await fetch(`http://127.0.0.1:${ports[0]}${path}`)
        return { status: response.status, text: await response.text(), headers: response.headers, ms: 0 }
      }
      return [await ask('/metrics'), await ask('/healthz')]
    },
    expect: ([metrics, health]) =>
      metrics?.status === 200 || /version|receipts|load/.test(health?.text ?? '')
        ? `a client without a key reads ${metrics?.status === 200 ? 'metrics' : health?.text.slice(0, 100)}`
        : undefined,
  },
  {
    name: 'receipts-forged-many',
    quick: true,
    run: async (world) => {
      const before = await spent(world)
      const asked = await world.chat({ max_tokens: 4 })
      const honest = await eventually(
        async () => (await spent(world)) - before,
        (cost) => cost > 0,
      )
      const requestId = asked.headers.get('x-request-id') ?? ''
      const { workerId } = await stolenKey(world)
      const answers = await inTurn(9, (call) =>
        deliver(
          world,
          Array.from({ length: 64 }, (_, index) => forged(world, workerId, requestId, 1_000 + call * 64 + index)),
        ),
      )
      const posted = (await spent(world)) - before
      return [{ ...asked, text: `honest ${honest}, posted ${posted}` }, ...answers]
    },
    expect: ([first]) => {
      const [honest, posted] = (first?.text.match(/\d+/g) ?? []).map(Number)
      return honest === posted ? undefined : `forged receipts were posted: ${first?.text}`
    },
  },
  {
    name: 'receipts-impossible',
    quick: true,
    run: async (world) => {
      const asked = await world.chat({ max_tokens: 4 })
      const requestId = asked.headers.get('x-request-id') ?? ''
      const { workerId } = await stolenKey(world)
      const counts = { promptTokens: Number.MAX_SAFE_INTEGER, cachedTokens: 0, outputTokens: 1, reasoningTokens: 0 }
      const wrong = [
        { counts },
        { counts: { ...counts, promptTokens: 1, cachedTokens: 5 } },
        { counts: { ...counts, promptTokens: 1, reasoningTokens: 5 } },
        { costNano: Number.MAX_SAFE_INTEGER },
      ]
      const answers = [
        ...(await inTurn(4, (index) =>
          deliver(world, [forged(world, workerId, requestId, 900 + index, wrong[index])]),
        )),
        await deliver(world, [forged(world, workerId, `req_${'0'.repeat(32)}`, 1, { counts })]),
      ]
      return [
        ...answers,
        await world.chat({ max_tokens: 4 }),
        await world.send('/v1/usage', null, { method: 'GET' }),
        await world.send(`/admin/tenants/${world.attacker.tenantId}/verification`, null, {
          method: 'GET',
          key: world.product.demo().operatorKey,
        }),
      ]
    },
    expect: (answers) => {
      const last = answers.slice(-3)
      const bad =
        last.find(({ status }) => status !== 200) ?? (last[2]?.text.includes('"faults":[]') ? undefined : last[2])
      return bad && `after forged token counts: ${bad.status} ${bad.text.slice(0, 120)}`
    },
  },
  {
    name: 'heartbeats-forged',
    quick: true,
    run: async (world) => {
      const { workerId, kid, key } = await stolenKey(world)
      const beat = (change: object) => ({
        workerId,
        pool: 'latency',
        url: 'http://169.254.169.254/latest/',
        model: world.model,
        engine: 'forged',
        state: 'ready',
        slotsMax: 1_024,
        contextTokens: 4_096,
        vision: true,
        running: [],
        kvTokens: 0,
        kvTokensMax: 0,
        promptTokensTotal: 0,
        cachedTokensTotal: 0,
        outputTokensTotal: 0,
        sentAt: Date.now(),
        instance: 'f'.repeat(16),
        startedAt: Date.now() - 1_000,
        lastEnd: null,
        ...change,
      })
      const changes = [
        {},
        { url: 'http://127.0.0.1:1', slotsMax: 4 },
        { pool: 'throughput' },
        { model: 'mistral-small-4' },
        { sentAt: Date.now() + 3_600_000 },
        { sentAt: 1 },
      ]
      return inTurn(changes.length, async (index) =>
        world.send(
          '/internal/heartbeat',
          { heartbeat: await seal('heartbeat', beat(changes[index] ?? {}), kid, key) },
          { key: null },
        ),
      )
    },
    expect: (answers) => {
      const taken = answers.find(({ status }) => status < 400)
      return taken && `a forged heartbeat was accepted: ${taken.status} ${taken.text.slice(0, 100)}`
    },
  },
  {
    name: 'receipts-of-unknown-workers',
    run: async (world) => {
      const { key } = await stolenKey(world)
      const call = () =>
        Promise.all(
          Array.from({ length: 64 }, (_, index) =>
            seal(
              'receipt',
              forged(world, `w${index}`, `req_${'1'.repeat(32)}`, index),
              `w${Math.random().toString(36).slice(2, 12)}.1`,
              key,
            ),
          ),
        )
      return times(60, async () => world.send('/internal/receipts', { receipts: await call() }, { key: null }))
    },
    expect: (answers) =>
      answers.some(({ status }) => status < 400 || status >= 500)
        ? 'receipts of an unknown worker were processed'
        : undefined,
  },
  {
    name: 'second-process-with-one-id',
    run: async (world) => {
      const { workerId, kid, key } = await stolenKey(world)
      const ports = await workerPorts(world)
      return inTurn(4, async () => {
        await wait(500)
        const heartbeat = {
          workerId,
          pool: 'latency',
          url: `http://127.0.0.1:${ports[0]}`,
          model: world.model,
          engine: 'second',
          state: 'ready',
          slotsMax: 4,
          contextTokens: 4_096,
          vision: false,
          running: [],
          kvTokens: 0,
          kvTokensMax: 0,
          promptTokensTotal: 0,
          cachedTokensTotal: 0,
          outputTokensTotal: 0,
          sentAt: Date.now(),
          instance: 'e'.repeat(16),
          startedAt: Date.now(),
          lastEnd: null,
        }
        return world.send(
          '/internal/heartbeat',
          { heartbeat: await seal('heartbeat', heartbeat, kid, key) },
          { key: null },
        )
      })
    },
    expect: (answers) =>
      answers.some(({ status }) => status < 400) ? 'a second process with this id was accepted' : undefined,
  },
]
