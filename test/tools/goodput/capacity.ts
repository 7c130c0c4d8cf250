/**
 * Goodput as the field defines it (Zhong et al., DistServe, OSDI 2024): the highest rate at which at least 90 % of the
 * requests meet both of their targets. Here 90 % of those without thinking and 90 % of those with: a service that gives
 * up a whole class does not serve it.
 *
 * Found by bisection over the trace's load, in steps of 2 %. More load is taken to be harder. Near the end of what is
 * carried one seed's luck may say otherwise, for every router alike; so a try that would have to be better than the one
 * before is asked twice.
 */
import { type Figures, play } from './play.ts'
import type { Policy } from './policies.ts'
import { generate, type Trace } from './traces.ts'

const shareLeast = 0.9
/** In parts of what an ideally split fleet could serve, see traces.ts. */
export const loadLeast = 0.03
const step = 1.02
const loads = Array.from({ length: 200 }, (_, index) => loadLeast * step ** index)
/** Steps above the best so far. */
const looks = [1, 3]

/** The highest load that any of these carries (a router with each of its profiles); 0 where even the least is too much. */
export function carriedLoad(trace: Trace, tries: readonly Policy[], seed: number): number {
  let best = -1
  for (const policy of tries) {
    const carried = (at: number) => carries(play(trace, policy, generate({ ...trace, load: loads[at] ?? 0 }, seed)))
    best = highest(best, loads.length, looks, carried)
  }
  return loads[best] ?? 0
}

export function carries({ share }: Pick<Figures, 'share'>): boolean {
  return [share.latency, share.throughput].every((each) => Number.isNaN(each) || each >= shareLeast)
}

/** The highest that passes below `end`; `low` where none of the `looks` above it does. */
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
