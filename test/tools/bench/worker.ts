/**
 * `npm run bench:worker`: the latency, CPU and memory that the worker adds to an engine over HTTP, on this machine.
 *
 *   node test/tools/bench/worker.ts [--seconds 30] [--streams 256] [--rate 50]
 *
 * The engine is a scripted process (test/support/engine-process.ts): its words cost nothing and carry their time of
 * writing, so that a client can compute each word's delay. First one stream at a time, alternating between the engine
 * alone and the worker; then `--streams` streams at once with `--rate` tokens per second each, for `--seconds`. Every
 * word of every answer is checked. Memory is the worker's after a garbage collection, without the first tenth of the
 * samples. Everything listens on 127.0.0.1, and every process ends with this one.
 */
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { dispatchPath, dispatchTtlMs } from '../../../backends/wire/dispatch.ts'
import { digest, seal, sealKey } from '../../../backends/wire/seal.ts'
import { keyIdOf, parseWorkerKey } from '../../../backends/wire/worker-key.ts'
import { Secret } from '../../../src/auth/secret.ts'
import { newWorkerKey } from '../../../src/auth/worker-key.ts'
import { type EngineAt, startEngineProcess } from '../../support/engine-at.ts'
import { type Child, home, startChild } from './children.ts'
import { cpuMicro } from './cpu.ts'
import { directClaims } from './edge.ts'
import { quantile } from './figures.ts'
import type { WorkerMemory } from './http-worker.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '30' },
    streams: { type: 'string', default: '256' },
    rate: { type: 'string', default: '50' },
  },
})
const [seconds, streams, rate] = [values.seconds, values.streams, values.rate].map(Number) as [number, number, number]
const singles = 200
const singleTokens = 64
/** Each answer has ten seconds of words. */
const answerTokens = Math.round(rate * 10)

const agent = new Agent({ keepAlive: true, maxSockets: 1_024 })
const content = JSON.stringify({
  model: 'tramontane-tiny',
  messages: [{ role: 'user', content: 'a prompt of a few words, as short as they come '.repeat(10) }],
  max_tokens: 4_000,
  stream: true,
})

interface Answer {
  firstMs: number
  totalMs: number
  words: number
  /** Delay of each word from the engine to this client. */
  delaysMs: number[]
}

type Shoot = () => Promise<Answer>

async function main(): Promise<void> {
  console.log(
    `${cpus().length} cores (${cpus()[0]?.model.trim()}), Node ${process.version}, load average ${load()} before.`,
  )
  const engine = await startEngineProcess({ stamp: true, tokens: singleTokens })
  process.on('exit', () => engine.process.end())
  const workerKey = await newWorkerKey(new Secret('f'.repeat(32)), 'bench', 1)
  const worker = await startChild<{ url: string }>('./http-worker.ts', {
    args: [engine.url, home, workerKey],
    env: { NODE_OPTIONS: '--expose-gc' },
  })
  const direct: Shoot = () => shoot(`${engine.url}/v1/chat/completions`, directBody, undefined)
  const sign = await signer(workerKey)
  const through: Shoot = async () => shoot(worker.ready.url + dispatchPath, content, await sign())
  await alone(direct, through, engine)
  await engine.say({ tokens: answerTokens, tokenMs: 1_000 / rate })
  await together(through, worker, engine)
  worker.stop()
  await engine.stop()
  process.exit(0)
}

/** The fields that the adapter adds, so that both paths carry the same events. */
const directBody = JSON.stringify({ ...JSON.parse(content), timings_per_token: true })

async function alone(direct: Shoot, through: Shoot, engine: EngineAt): Promise<void> {
  const atOnce = await inTurn(direct, through, singles)
  const first = ({ firstMs }: Answer) => firstMs
  console.log(`\nOne stream at a time, ${singles} per path, alternating; medians.`)
  console.log(compared('first token', 'ms', atOnce, first))
  console.log(compared(`all ${singleTokens} tokens at once`, 'ms', atOnce, ({ totalMs }) => totalMs))
  await engine.say({ tokenMs: 2 })
  const paced = await inTurn(direct, through, singles / 10)
  const way = ({ delaysMs }: Answer) => quantile(delaysMs.slice(1), 0.5)
  console.log(compared('delay of a token, one every 2 ms', 'ms', paced, way))
}

interface Pairs {
  direct: Answer[]
  through: Answer[]
}

async function inTurn(direct: Shoot, through: Shoot, count: number): Promise<Pairs> {
  const answers: Pairs = { direct: [], through: [] }
  // The first tenth is a warm-up.
  for (let round = -count / 10; round < count; round++) {
    const pair = { direct: await direct(), through: await through() }
    if (round < 0) continue
    answers.direct.push(pair.direct)
    answers.through.push(pair.through)
  }
  return answers
}

function compared(name: string, unit: string, { direct, through }: Pairs, pick: (answer: Answer) => number): string {
  const [alone, behind] = [direct, through].map((list) => quantile(list.map(pick), 0.5)) as [number, number]
  const added = `+${(behind - alone).toFixed(2)} ${unit}`
  return `${name}: engine alone ${alone.toFixed(2)} ${unit}, through the worker ${behind.toFixed(2)} ${unit}: ${added}`
}

async function together(through: Shoot, worker: Child<{ url: string }>, engine: EngineAt): Promise<void> {
  const until = performance.now() + seconds * 1_000
  const delays: number[] = []
  const rates: number[] = []
  const counts = { answers: 0, tokens: 0 }
  const faults: string[] = []
  const memory: (WorkerMemory & { at: number })[] = []
  const startedAt = performance.now()
  const cpuBefore = cpuMicro(worker.pid) ?? Number.NaN
  const sampler = setInterval(
    async () => memory.push({ at: performance.now() - startedAt, ...(await memoryOf(worker)) }),
    5_000,
  )
  const stream = async (index: number) => {
    // Spread the starts over one second.
    await new Promise((resolve) => setTimeout(resolve, (index * 1_000) / streams))
    while (performance.now() < until) {
      try {
        const answer = await through()
        if (answer.words !== answerTokens) throw new Error(`${answer.words} of ${answerTokens} words arrived`)
        counts.answers += 1
        counts.tokens += answer.words
        rates.push((answer.words - 1) / ((answer.totalMs - answer.firstMs) / 1_000))
        // One word in ten is enough.
        for (let word = 0; word < answer.delaysMs.length; word += 10) delays.push(answer.delaysMs[word] ?? 0)
      } catch (error) {
        faults.push(error instanceof Error ? error.message : String(error))
      }
    }
  }
  await Promise.all(Array.from({ length: streams }, (_, index) => stream(index)))
  clearInterval(sampler)
  const wallMs = performance.now() - startedAt
  const cpu = (cpuMicro(worker.pid) ?? Number.NaN) - cpuBefore
  const last = await memoryOf(worker)
  const { open } = await engine.seen()
  console.log(
    `\n${streams} streams at once at ${rate} tokens/s each, for ${Math.round(wallMs / 1_000)} s; load average ${load()}.`,
  )
  console.log(
    `answers ${counts.answers}, tokens ${counts.tokens}, lost or out-of-order answers: ${faults.length} ${faults.slice(0, 3).join('; ')}`,
  )
  console.log(
    `tokens/s per stream: median ${quantile(rates, 0.5).toFixed(1)}, slowest ${Math.min(...minOf(rates)).toFixed(1)}`,
  )
  console.log(
    `delay of a token from the engine to the client: p50 ${quantile(delays, 0.5).toFixed(1)} ms, p99 ${quantile(delays, 0.99).toFixed(1)} ms`,
  )
  console.log(
    `worker CPU: ${(cpu / counts.tokens).toFixed(1)} µs per token, ${((cpu / 1_000 / wallMs) * 100).toFixed(0)} % of a core`,
  )
  console.log(memoryLine(memory))
  console.log(
    `after the run: slots held ${last.slotsHeld}, open answers at the engine ${open}, receipts ${last.receipts}, heap ${last.heapMiB.toFixed(1)} MiB`,
  )
  if (faults.length > 0 || last.slotsHeld > 0 || open > 0) process.exitCode = 1
}

/** `Math.min` cannot take a long list as arguments. */
function minOf(values: number[]): [number] {
  return [values.reduce((min, value) => Math.min(min, value), Number.POSITIVE_INFINITY)]
}

function memoryLine(samples: (WorkerMemory & { at: number })[]): string {
  const steady = samples.slice(Math.ceil(samples.length / 10))
  const half = Math.floor(steady.length / 2)
  if (half === 0) return 'memory: not enough samples'
  const median = (list: typeof steady, pick: (sample: WorkerMemory) => number) => quantile(list.map(pick), 0.5)
  const range = (name: string, pick: (sample: WorkerMemory) => number) => {
    const all = steady.map(pick)
    const [first, second] = [median(steady.slice(0, half), pick), median(steady.slice(half), pick)]
    return `${name} ${Math.min(...all).toFixed(1)}–${Math.max(...all).toFixed(1)} MiB (median of the first half ${first.toFixed(1)}, of the second half ${second.toFixed(1)})`
  }
  return `memory over ${steady.length} samples: ${range('heap', ({ heapMiB }) => heapMiB)}, ${range('RSS', ({ rssMiB }) => rssMiB)}`
}

async function memoryOf(worker: Child<unknown>): Promise<WorkerMemory> {
  const answer = once(worker.process, 'message')
  worker.process.send('memory')
  return (await answer)[0] as WorkerMemory
}

async function signer(text: string): Promise<() => Promise<string>> {
  const workerKey = parseWorkerKey(text)
  if (!workerKey) throw new Error('not a worker key')
  const key = await sealKey(workerKey.secret)
  const bodyDigest = await digest(new TextEncoder().encode(content) as Uint8Array<ArrayBuffer>)
  return async () => {
    const id = crypto.randomUUID()
    const now = Date.now()
    const own = { dispatchId: `${id}.1`, requestId: id, workerId: workerKey.workerId, bodyDigest, settleFirst: false }
    const claims = {
      ...directClaims,
      ...own,
      outputTokensMax: 4_000,
      costNanoMax: 1e10,
      issuedAt: now,
      expiresAt: now + dispatchTtlMs,
    }
    return `Bearer ${await seal('dispatch', claims, keyIdOf(workerKey), key)}`
  }
}

async function shoot(url: string, body: string, authorization: string | undefined): Promise<Answer> {
  const startedAt = performance.now()
  const response = await post(url, body, authorization)
  const answer: Answer = { firstMs: Number.NaN, totalMs: 0, words: 0, delaysMs: [] }
  let rest = ''
  let done = false
  response.setEncoding('utf8')
  for await (const part of response as AsyncIterable<string>) {
    const now = performance.timeOrigin + performance.now()
    const events = (rest + part).split('\n\n')
    rest = events.pop() ?? ''
    for (const event of events) {
      if (event === 'data: [DONE]') done = true
      const word = /"content":"w(\d+):([\d.]+) "/.exec(event)
      if (!word) continue
      if (Number(word[1]) !== answer.words) throw new Error(`word ${word[1]} arrived instead of ${answer.words}`)
      if (answer.words === 0) answer.firstMs = performance.now() - startedAt
      answer.words += 1
      answer.delaysMs.push(now - Number(word[2]))
    }
  }
  if (response.statusCode !== 200 || !done)
    throw new Error(`HTTP ${response.statusCode}, ${done ? '' : 'cut off'} ${rest.slice(0, 200)}`)
  answer.totalMs = performance.now() - startedAt
  return answer
}

function post(url: string, body: string, authorization: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(authorization && { authorization }),
    }
    const sending = request(url, { method: 'POST', agent, headers }, resolve)
    sending.on('error', reject)
    sending.end(body)
  })
}

function load(): string {
  return loadavg()[0]?.toFixed(1) ?? '?'
}

await main()
