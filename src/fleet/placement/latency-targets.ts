/**
 * What each effort is promised, and where it is at home. Short answers are read as they come: their home is the latency
 * pool. Long thinking is waited for: its home is the throughput pool, where most tokens come in all.
 *
 * The targets are those that published serving benchmarks hold engines to, so that they are nobody's choice here: MLPerf
 * Inference asks for a first token within 1.5 s in its interactive scenarios (v6.0) and 2 s with 80 ms a token of a
 * reasoning model's server (v5.1). 20 ms a token, 50 tokens a second, stands between its two interactive figures, 15 ms
 * and 40 ms. They guide placement; none is promised to a client.
 */

import type { EffortWord } from '../../../backends/model/effort.ts'
import type { PoolName } from '../../../backends/wire/dispatch.ts'

export interface Target {
  /** From the request's arrival to its first token, in milliseconds. */
  firstTokenMs: number
  /** Between two tokens, on average over an answer, in milliseconds. */
  tokenMs: number
}

export const targets: Record<PoolName, Target> = {
  latency: { firstTokenMs: 1_500, tokenMs: 20 },
  throughput: { firstTokenMs: 2_000, tokenMs: 80 },
}

export function homeOf(effort: EffortWord): PoolName {
  return effort === 'none' ? 'latency' : 'throughput'
}

export function otherPool(pool: PoolName): PoolName {
  return pool === 'latency' ? 'throughput' : 'latency'
}
