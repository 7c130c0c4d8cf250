/**
 * Tokens per second of the embedded engine through the whole system, at the worker's own port, and of the library in a
 * bare loop, alternating over rounds with the same concurrency and lengths. Every request starts differently, so that
 * the prefix cache has none of the prompts.
 */
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { dispatchPath } from '../../../backends/wire/dispatch.ts'
import type { BareRound } from './bare-loop.ts'
import { type Child, startChild } from './children.ts'
import { ask, directClaims } from './edge.ts'
import { seeded } from './figures.ts'
import type { LoadOrder } from './load.ts'
import { type Edge, operate, startWorker, tenantId } from './servers.ts'

const modelPath = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))
const outputTokens = 64
const contextTokens = 512
/** The latency pool's value: see gpu-worker/profile.ts. */
const batchTokens = 256
const threads = 1
const wavesOfOne = 8

const tokenPaths = ['bare', 'direct', 'edge'] as const
type TokenPath = (typeof tokenPaths)[number]

/** Tokens per second, one figure per round. */
export type TokenCells = Record<TokenPath, number[]>

export interface TokenPlaces {
  load: Child<unknown>
  edge: Edge
  worker: { url: string; workerKey: string }
}

/** A real worker with `slots` slots, in the edge's latency pool. */
export async function startEngineWorker(edge: Edge, slots: number, core?: number) {
  return startWorker(
    '../../../gpu-worker/main.ts',
    'embedded',
    edge.url,
    {
      TRAMONTANE_POOL: 'latency',
      TRAMONTANE_SLOTS: String(slots),
      TRAMONTANE_CONTEXT: String(contextTokens),
      TRAMONTANE_THREADS: String(threads),
    },
    core,
  )
}

export async function benchTokens(places: TokenPlaces, concurrency: number, rounds: number): Promise<TokenCells> {
  const bare = await startChild('./bare-loop.ts', {
    args: [modelPath, concurrency, contextTokens, batchTokens, threads],
  })
  const cells: TokenCells = { bare: [], direct: [], edge: [] }
  // Few requests end soon: run several waves to make a round long enough to time.
  const waves = Math.max(1, Math.round(wavesOfOne / concurrency))
  let promptTokens = 64
  let seed = concurrency * 1_000
  for (let round = -1; round < rounds; round++) {
    const order = tokenPaths.map((_, index) => tokenPaths[(index + round + 1) % tokenPaths.length] as TokenPath)
    for (const path of order) {
      if (path === 'edge') await forgotten(places.edge)
      const done = { tokens: 0, ms: 0 }
      for (let wave = 0; wave < waves; wave++) {
        seed += concurrency
        const ran =
          path === 'bare'
            ? await runBare(bare, concurrency, promptTokens, seed)
            : await runRequests(places, path, concurrency, seed)
        promptTokens = ran.promptTokens
        done.tokens += ran.tokens
        done.ms += ran.ms
      }
      if (round >= 0) cells[path].push((done.tokens / done.ms) * 1_000)
    }
  }
  bare.stop()
  return cells
}

/** Direct requests to the worker occupy its slots at the edge until the next heartbeat; wait for that. */
async function forgotten(edge: Edge): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const { latency } = await operate(edge.url, '/admin/pools')
    if ((latency as { unleased: number }).unleased === 0) return
    await delay(100)
  }
  throw new Error('the worker still reports slots of direct requests after 5 s')
}

async function runRequests(places: TokenPlaces, path: 'direct' | 'edge', concurrency: number, seed: number) {
  const { load, worker, edge } = places
  const order: LoadOrder = {
    url: path === 'edge' ? `${edge.url}/v1/chat/completions` : `${worker.url}${dispatchPath}`,
    auth:
      path === 'edge'
        ? { kind: 'key', apiKey: edge.apiKey }
        : { kind: 'dispatch', workerKey: worker.workerKey, claims: { ...directClaims, tenantId } },
    bodies: Array.from({ length: concurrency }, (_, index) => body(seed + index)),
    plan: { kind: 'arrivals', atMs: Array.from({ length: concurrency }, () => 0) },
  }
  const answer = await ask(load, order)
  const tokens = answer.outputTokens.reduce((sum, count) => sum + count, 0)
  return { tokens, ms: answer.wallMs, promptTokens: answer.promptTokens[0] ?? Number.NaN }
}

/** Asks for a story: the tiny model does not end one before its bound. */
function body(seed: number): string {
  return JSON.stringify({
    model: 'tramontane-tiny',
    messages: [
      { role: 'system', content: `${seed} is your number.` },
      { role: 'user', content: 'Tell me a story about a fox.' },
    ],
    temperature: 0.7,
    seed,
    max_tokens: outputTokens,
    stream: true,
  })
}

async function runBare(bare: Child<unknown>, concurrency: number, promptTokens: number, seed: number) {
  const random = seeded(seed)
  const prompt = () => Array.from({ length: promptTokens }, () => 300 + Math.floor(random() * 500))
  const round: BareRound = { prompts: Array.from({ length: concurrency }, prompt), outputTokens }
  const answer = once(bare.process, 'message')
  bare.process.send(round)
  const [ms] = (await answer) as [number]
  return { tokens: concurrency * outputTokens, ms, promptTokens }
}
