/**
 * Latency targets and preferred pool of each effort. Answers without reasoning are read as they stream, so they prefer
 * the latency pool. Users wait for long reasoning anyway, so it prefers the throughput pool with its higher total rate.
 *
 * The targets follow a published serving benchmark, MLPerf Inference: first token within 1.5 s in interactive scenarios
 * (v6.0), and 2 s with 80 ms per token for a reasoning model in the server scenario (v5.1). 20 ms per token, 50 tokens
 * a second, lies between the two interactive values of 15 ms and 40 ms. Targets guide placement; clients get no
 * guarantee.
 */

import type { EffortWord } from '../../../backends/model/effort.ts'
import type { PoolName } from '../../../backends/wire/dispatch.ts'

export function preferredPoolOf(effort: EffortWord): PoolName {
  return effort === 'none' ? 'latency' : 'throughput'
}

export function otherPool(pool: PoolName): PoolName {
  return pool === 'latency' ? 'throughput' : 'latency'
}
