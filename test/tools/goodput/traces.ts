/**
 * Open-loop traces: requests with their tenants and times, independent of the answers. Conversations have a few turns;
 * each tenant has one system prompt for all of its conversations. Long reasoning has 13 times the output (MODEL.md §6).
 *
 * `load` is a share of the requests that a fleet could serve if it were split between the efforts as the trace needs
 * and had ideal arrivals; `load` 1 is all of that. It is the same for every policy.
 */
import type { EffortWord } from '../../../backends/model/effort.ts'
import type { PrefixHash } from '../../../src/fleet/placement/prefix-holders.ts'
import { targets } from '../../../src/fleet/placement/tuning.ts'
import { seeded } from '../bench/figures.ts'
import { kvTokensMax, stepMs } from './engine.ts'

export interface Asked {
  id: string
  at: number
  tenantId: string
  effort: EffortWord
  promptTokens: number
  outputTokens: number
  prefix: PrefixHash[]
  whole: PrefixHash
}

export interface Trace {
  name: string
  /** The goal by which the trace is judged. */
  mixed: boolean
  latencyWorkers: number
  throughputWorkers: number
  /** Share of requests without reasoning. */
  quickShare: number
  load: number
  /** The trace is about its fixed load: the highest load is not searched. */
  loadGiven: boolean
  promptMedian: number
  tenants: number
  /** One tenant sends this many times the requests of all others together; 0 for none. */
  abuse: number
  /** The factor on the load during ten seconds of every minute. */
  burst: number
  /** Time at which a worker dies, in milliseconds; undefined for none. */
  lostAt: number | undefined
}

export const traceMs = 400_000
/** Conversations start up to this long before the trace. */
const historyMs = 600_000
/** Requests before this time are not counted, while the fleet fills up. */
export const countedFromMs = 120_000

const base = {
  mixed: false,
  latencyWorkers: 4,
  throughputWorkers: 4,
  quickShare: 0.5,
  load: 0.85,
  loadGiven: false,
  promptMedian: 800,
  tenants: 12,
  abuse: 0,
  burst: 1,
  lostAt: undefined,
}

export const traces: Trace[] = [
  { ...base, name: 'mixed 10/90', mixed: true, quickShare: 0.1 },
  { ...base, name: 'mixed 50/50', mixed: true },
  { ...base, name: 'mixed 90/10', mixed: true, quickShare: 0.9 },
  { ...base, name: 'bursts 50/50', mixed: true, load: 0.6, burst: 3 },
  { ...base, name: 'long prompts', load: 0.7, promptMedian: 12_000 },
  { ...base, name: 'one abuser', load: 0.6, loadGiven: true, abuse: 2 },
  { ...base, name: 'a worker lost', mixed: true, load: 0.7, lostAt: 200_000 },
  { ...base, name: 'overload 1.5', mixed: true, load: 1.5, loadGiven: true },
  { ...base, name: 'low load', load: 0.15, loadGiven: true },
  { ...base, name: 'only short', quickShare: 1, load: 0.8 },
  { ...base, name: 'only long', quickShare: 0, load: 0.8 },
  { ...base, name: 'two workers', latencyWorkers: 1, throughputWorkers: 1, load: 0.7 },
  { ...base, name: 'one worker', latencyWorkers: 0, throughputWorkers: 1, load: 0.6 },
]

const outputMedian = { none: 220, high: 220 * 13 }
const outputSigma = 0.8
const promptSigma = 0.8
const turnsMean = 3
const nextPromptMedian = 120
const systemMean = 1_400
const systemMin = 300
const thinkMs = { none: 15_000, high: 120_000 }
const abuser = 'abuser'

export function isAbuser(tenantId: string): boolean {
  return tenantId === abuser
}

export function generate(trace: Trace, seed: number): Asked[] {
  const random = new Draws(seed)
  const asked: Asked[] = []
  const perMs = requestsPerSecond(trace) / turnsMean / 1_000
  const systems = Array.from({ length: trace.tenants + 1 }, () => ({
    hash: random.hash(),
    tokens: random.int(systemMin, 2 * systemMean - systemMin),
  }))
  // Conversations that started before: their later turns are in the trace from the start.
  let at = -historyMs
  for (;;) {
    at += -Math.log(1 - random.next()) / (perMs * rateAt(trace, at))
    if (at >= traceMs) break
    const tenant = random.next() < trace.abuse / (1 + trace.abuse) ? trace.tenants : random.int(0, trace.tenants - 1)
    const effort = random.next() < trace.quickShare ? 'none' : 'high'
    const tenantId = tenant === trace.tenants ? abuser : `tenant ${tenant}`
    asked.push(...conversation(trace, random, at, tenantId, effort, systems[tenant] as PrefixHash))
  }
  return asked
    .filter((each) => each.at >= 0 && each.at < traceMs)
    .sort((a, b) => a.at - b.at)
    .map((each, index) => ({ ...each, id: `r${index}` }))
}

function conversation(
  trace: Trace,
  random: Draws,
  start: number,
  tenantId: string,
  effort: 'none' | 'high',
  system: PrefixHash,
): Asked[] {
  const turns: Asked[] = []
  const prefix: PrefixHash[] = [system]
  let tokens = system.tokens
  let at = start
  do {
    tokens += Math.ceil(random.logNormal(turns.length === 0 ? trace.promptMedian : nextPromptMedian, promptSigma))
    const outputTokens = Math.max(1, Math.ceil(random.logNormal(outputMedian[effort], outputSigma)))
    const whole = { hash: random.hash(), tokens: tokens + outputTokens }
    const prompt = { hash: random.hash(), tokens }
    const all = [...prefix, prompt]
    turns.push({ id: '', at, tenantId, effort, promptTokens: tokens, outputTokens, prefix: all, whole })
    // The answer is part of the next prompt: the engine that wrote it holds it; a router knows only the prompt.
    prefix.push(prompt, whole)
    tokens = whole.tokens
    at += -Math.log(1 - random.next()) * thinkMs[effort]
  } while (random.next() < 1 - 1 / turnsMean)
  return turns
}

/** See the header: computed from the mean lengths, at the largest batches that meet the targets and fit the cache. */
export function requestsPerSecond(trace: Trace): number {
  const share = { none: trace.quickShare, high: 1 - trace.quickShare }
  const workerSeconds = (['none', 'high'] as const).reduce((sum, effort) => {
    const tokens = meanOf(outputMedian[effort], outputSigma)
    const target = targets[effort === 'none' ? 'latency' : 'throughput'].tokenMs
    // On average, a request has as many earlier turns as a conversation has turns minus one.
    const history = (turnsMean - 1) * (tokens + meanOf(nextPromptMedian, promptSigma))
    const promptTokens = meanOf(trace.promptMedian, promptSigma) + systemMean + history
    const freshTokens =
      meanOf(trace.promptMedian, promptSigma) / turnsMean + meanOf(nextPromptMedian, promptSigma) * (1 - 1 / turnsMean)
    // Of the answers generated in one batch, a share starts in each step and has its prompt read.
    const perToken = (batch: number) => {
      const read = (batch / tokens) * freshTokens
      return stepMs(batch, read, read, batch * (promptTokens + tokens / 2))
    }
    let batch = 1
    while (batch < Math.min(512, kvTokensMax / (promptTokens + tokens)) && perToken(batch + 1) <= target) batch += 1
    return sum + (share[effort] * tokens * perToken(batch)) / batch / 1_000
  }, 0)
  return (trace.load * (trace.latencyWorkers + trace.throughputWorkers)) / workerSeconds
}

function meanOf(median: number, sigma: number): number {
  return median * Math.exp(sigma ** 2 / 2)
}

function rateAt({ burst, abuse }: Trace, at: number): number {
  const inMinute = (at + historyMs) % 60_000
  const inBurst = inMinute >= 40_000 && inMinute < 50_000
  return (inBurst ? burst : 1) * (1 + abuse)
}

class Draws {
  readonly next: () => number

  constructor(seed: number) {
    this.next = seeded(seed)
    for (let index = 0; index < 4; index++) this.next()
  }

  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  hash(): number {
    return Math.floor(this.next() * 2 ** 32) * 2 ** 21 + Math.floor(this.next() * 2 ** 21)
  }

  logNormal(median: number, sigma: number): number {
    const normal = Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next())
    return median * Math.exp(sigma * normal)
  }
}
