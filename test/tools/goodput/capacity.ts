/**
 * Goodput as in the literature (Zhong et al., DistServe, OSDI 2024): the highest rate at which at least 90 % of the
 * requests meet both of their targets. Here 90 % of the requests without reasoning and 90 % of those with it must: a
 * service that gives up a whole class does not serve it.
 *
 * The search bisects the trace's load in steps of 2 % and assumes that more load is harder. Near the limit a seed may
 * contradict that, for every router alike; so a load above the best one so far is tried at two steps.
 */
import { type Figures, play } from './play.ts'
import type { Policy } from './policies.ts'
import { generate, type Trace } from './traces.ts'

const shareMin = 0.9
/** As a part of the load that an ideally split fleet could serve: see traces.ts. */
export const loadLeast = 0.03
const step = 1.02
const loads = Array.from({ length: 200 }, (_, index) => loadLeast * step ** index)
/** Steps above the best so far. */
const looks = [1, 3]

/** The highest load that any of these policies (one router, all profiles) carries; 0 if none carries the lowest. */
export function carriedLoad(trace: Trace, tries: readonly Policy[], seed: number): number {
  let best = -1
  for (const policy of tries) {
    const carried = (at: number) => carries(play(trace, policy, generate({ ...trace, load: loads[at] ?? 0 }, seed)))
    best = highest(best, loads.length, looks, carried)
  }
  return loads[best] ?? 0
}

export function carries({ share }: Pick<Figures, 'share'>): boolean {
  return [share.latency, share.throughput].every((each) => Number.isNaN(each) || each >= shareMin)
}

/** The highest passing value below `end`; `low` if none of the `looks` above it passes. */
export function highest(low: number, end: number, looks: readonly number[], passes: (at: number) => boolean): number {
  let best = looks.map((look) => low + look).find((at) => at < end && passes(at))
  if (best === undefined) return low
  for (let fails = end; fails - best > 1; ) {
    const middle: number = (best + fails) >> 1
    if (passes(middle)) best = middle
    else fails = middle
  }
  return best
}
