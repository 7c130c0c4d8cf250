/** Plays one trace under one policy and computes its figures. */
import type { PoolName } from '../../../backends/wire/dispatch.ts'
import { preferredPoolOf } from '../../../src/fleet/placement/latency-targets.ts'
import { targets } from '../../../src/fleet/placement/tuning.ts'
import { Timeline } from '../../sim/timeline.ts'
import { quantile } from '../bench/figures.ts'
import { EngineModel } from './engine.ts'
import type { Policy, Run } from './policies.ts'
import { type Asked, countedFromMs, isAbuser, type Trace, traceMs } from './traces.ts'

export interface Figures {
  /** Requests per second that met both targets. */
  goodput: number
  asked: number
  /** By preferred pool: the share that met both targets, and quantiles over the answered requests. */
  share: Record<PoolName, number>
  firstTokenMs: Record<PoolName, [number, number]>
  tokenMs: Record<PoolName, [number, number]>
  refused: number
  /** Requests that received nothing. */
  open: number
  /** Jain's index over tenants of each tenant's share of requests that met its targets, without the abuser. */
  jain: number
  /** The same share for all tenants except the abuser together. */
  neighbours: number
}

/** Long enough for the longest answer. */
const drainMs = 1_200_000

export function play(trace: Trace, policy: Policy, asked: readonly Asked[]): Figures {
  const timeline = new Timeline(0)
  const then = (afterMs: number, run: (now: number) => void) => timeline.after(afterMs, 'step', () => run(timeline.now))
  const router = policy.build({ clock: timeline, open: (profile) => new EngineModel(profile, then) }, trace)
  const runs = asked.map(openRun)
  for (const run of runs) timeline.after(run.asked.at, 'arrival', () => router.arrive(run))
  if (trace.lostAt !== undefined) timeline.after(trace.lostAt, 'loss', () => router.kill(0))
  // Heartbeats never end, so stop when no request is open.
  for (let next = timeline.take(); next && next.time < traceMs + drainMs; next = timeline.take()) {
    next.run()
    if (next.time > traceMs && next.what === 'beat' && runs.every((run) => run.fate !== 'open')) break
  }
  const counted = runs.filter((run) => run.asked.at >= countedFromMs)
  return figuresOf(counted, traceMs - countedFromMs)
}

export function openRun(asked: Asked): Run {
  return { asked, firstAt: undefined, endAt: undefined, fate: 'open', workerId: undefined, attempts: 0 }
}

function isGood({ asked, firstAt, endAt, fate }: Run): boolean {
  if (fate !== 'done' || firstAt === undefined || endAt === undefined) return false
  const target = targets[preferredPoolOf(asked.effort)]
  return firstAt - asked.at <= target.firstTokenMs && tokenMsOf(firstAt, endAt, asked) <= target.tokenMs
}

function tokenMsOf(firstAt: number, endAt: number, { outputTokens }: Asked): number {
  return outputTokens <= 1 ? 0 : (endAt - firstAt) / (outputTokens - 1)
}

/** @param countedMs the period in which the requests arrived */
export function figuresOf(runs: Run[], countedMs: number): Figures {
  const good = runs.filter(isGood)
  const of = (home: PoolName) => runs.filter((run) => preferredPoolOf(run.asked.effort) === home)
  const share = (among: Run[]) => (among.length === 0 ? Number.NaN : among.filter(isGood).length / among.length)
  const shares = [...Map.groupBy(runs, (run) => run.asked.tenantId)]
    .filter(([tenantId]) => !isAbuser(tenantId))
    .map(([, theirs]) => share(theirs))
  const both = <Value>(value: (among: Run[]) => Value) => ({
    latency: value(of('latency')),
    throughput: value(of('throughput')),
  })
  const quantiles = (values: number[]): [number, number] => [quantile(values, 0.5), quantile(values, 0.99)]
  return {
    goodput: good.length / (countedMs / 1_000),
    asked: runs.length,
    share: both(share),
    firstTokenMs: both((among) =>
      quantiles(among.flatMap(({ firstAt, asked }) => (firstAt === undefined ? [] : [firstAt - asked.at]))),
    ),
    tokenMs: both((among) =>
      quantiles(
        among.flatMap(({ firstAt, endAt, asked }) =>
          firstAt === undefined || endAt === undefined ? [] : [tokenMsOf(firstAt, endAt, asked)],
        ),
      ),
    ),
    refused: runs.filter((run) => run.fate === 'refused').length / Math.max(1, runs.length),
    open: runs.filter(({ fate, firstAt }) => fate === 'open' && firstAt === undefined).length,
    jain: jainOf(shares),
    neighbours: share(runs.filter((run) => !isAbuser(run.asked.tenantId))),
  }
}

function jainOf(values: number[]): number {
  const sum = values.reduce((total, value) => total + value, 0)
  const squares = values.reduce((total, value) => total + value * value, 0)
  return squares === 0 ? 1 : sum ** 2 / (values.length * squares)
}
