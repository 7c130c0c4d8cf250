/**
 * The latency and CPU that the edge adds. The same requests go directly to the worker, through a pass-through Worker,
 * and through the edge, alternating over rounds. The worker's engine costs nothing, so the rest is the cost of the
 * path. A cell of the edge ends when its receipts are settled: settlement is part of a request's cost.
 *
 * Two kinds of answers show the two parts of a gateway's cost. A short answer that arrives at once shows the cost per
 * request. An answer that arrives token by token, at the pace of Small 4 alone on its GPUs, shows the cost in use: any
 * gateway must forward separate chunks separately.
 */
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { dispatchPath } from '../../../backends/wire/dispatch.ts'
import { metricsKey } from '../../support/product.ts'
import type { Child } from './children.ts'
import { poissonArrivals, quantile } from './figures.ts'
import type { DirectClaims, LoadAnswer, LoadOrder } from './load.ts'
import { directTenant } from './scripted-worker.ts'
import { type Edge, type Hosted, hostedMicro } from './servers.ts'

export const paths = ['direct', 'pass-through', 'edge'] as const
type Path = (typeof paths)[number]

/** One cell: one path under one load in one round. */
export interface Cell {
  firstTokenMs: number[]
  workerdMicro: number
  hostMicro: number
}

export interface LoadKind {
  name: string
  /** Up to twelve tokens arrive at once; longer answers arrive one by one. See scripted-worker.ts. */
  outputTokens: number
  perSecond: number | null
  count: number
}

export type Cells = Record<Path, Cell[]>

export interface Places {
  load: Child<unknown>
  worker: { url: string; workerKey: string }
  passThrough: Hosted
  edge: Edge
}

export const directClaims: DirectClaims = {
  tenantId: directTenant,
  keyId: 'bench',
  model: 'tramontane-tiny',
  pool: 'latency',
  effort: 'none',
  priority: 5,
  costNanoMax: 1e9,
  promptTokensMax: 4_096,
  outputTokensMax: 64,
  rates: { inputNano: 150, cachedNano: 15, outputNano: 600 },
}

const settledMsMax = 10_000

/** A short conversation: four messages, about two kilobytes. */
const conversation = {
  model: 'tramontane-tiny',
  messages: [
    { role: 'system', content: 'You answer in one sentence, and say so when you do not know. '.repeat(8) },
    { role: 'user', content: 'Where does the tramontane blow, and from where does it come? '.repeat(10) },
    { role: 'assistant', content: 'It comes over the mountains from the north, cold and dry. '.repeat(8) },
    { role: 'user', content: 'And how long does it last?' },
  ],
  temperature: 0.3,
  stream: true,
  stream_options: { include_usage: true },
}

/** Runs one load over all rounds. Throws if a request failed: a figure that includes failures is meaningless. */
export async function benchLoad(places: Places, load: LoadKind, rounds: number): Promise<Cells> {
  const cells: Cells = { direct: [], 'pass-through': [], edge: [] }
  for (let round = 0; round < rounds; round++) {
    // Each path runs first, second and last equally often.
    const order = paths.map((_, index) => paths[(index + round) % paths.length] as Path)
    for (const path of order) cells[path].push(await runCell(places, path, load, round))
  }
  return cells
}

export async function ask(load: Child<unknown>, order: LoadOrder): Promise<LoadAnswer> {
  load.process.send(order)
  const [answer] = (await once(load.process, 'message')) as [LoadAnswer]
  if (answer.faults.length > 0) {
    throw new Error(`${answer.faults.length} requests to ${order.url} failed, the first with: ${answer.faults[0]}`)
  }
  return answer
}

/** Resolves when the worker owes no more receipts. */
export async function settled(workerUrl: string): Promise<void> {
  const headers = { authorization: `Bearer ${metricsKey}` }
  const deadline = performance.now() + settledMsMax
  let owed = Number.NaN
  while (performance.now() < deadline) {
    const health = (await (await fetch(new URL('/healthz', workerUrl), { headers })).json()) as {
      receipts: { owed: number }
    }
    owed = health.receipts.owed
    if (owed === 0) return
    await delay(10)
  }
  throw new Error(`the edge has not acknowledged ${owed} receipts within ${settledMsMax} ms`)
}

async function runCell(places: Places, path: Path, load: LoadKind, round: number): Promise<Cell> {
  const hosted = path === 'edge' ? places.edge : path === 'pass-through' ? places.passThrough : undefined
  const before = hosted && hostedMicro(hosted)
  const answer = await ask(places.load, orderOf(places, path, load, round))
  if (path === 'edge') await settled(places.worker.url)
  const after = hosted && hostedMicro(hosted)
  const perRequest = (name: 'workerd' | 'host') => ((after?.[name] ?? 0) - (before?.[name] ?? 0)) / load.count
  return { firstTokenMs: answer.firstTokenMs, workerdMicro: perRequest('workerd'), hostMicro: perRequest('host') }
}

function orderOf(places: Places, path: Path, load: LoadKind, round: number): LoadOrder {
  const { worker, passThrough, edge } = places
  const { perSecond, count, outputTokens } = load
  const claims = { ...directClaims, outputTokensMax: outputTokens }
  return {
    url:
      path === 'edge'
        ? `${edge.url}/v1/chat/completions`
        : path === 'direct'
          ? `${worker.url}${dispatchPath}`
          : passThrough.url,
    auth:
      path === 'edge'
        ? { kind: 'key', apiKey: edge.apiKey }
        : { kind: 'dispatch', workerKey: worker.workerKey, claims },
    bodies: [JSON.stringify({ ...conversation, max_tokens: outputTokens })],
    plan:
      perSecond === null
        ? { kind: 'sequence', count }
        : { kind: 'arrivals', atMs: poissonArrivals(perSecond, count, 1_000 * round + perSecond) },
  }
}

export function firstTokenOf(cell: Cell, q: number): number {
  return quantile(cell.firstTokenMs, q)
}
