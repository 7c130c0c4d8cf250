/** The first bytes of an answer, and where it comes from. */

import type { GrantedLease } from '../fleet/lease.ts'
import type { Watch } from './worker-watch.ts'

export interface Answered {
  lease: GrantedLease | HostedEndpoint
  /** The prompt's exact length, if known before the answer's end. */
  promptTokens: number | undefined
  /** The bound of the output, if the reservation pays for less than was dispatched. */
  outputTokensMax: number | undefined
  /** Request fields that the engine ignores, if known before the first byte. */
  warnings: readonly string[]
  first: Uint8Array
  /** The rest of the worker's stream. Its owner cancels it when the client leaves. */
  rest: ReadableStream<Uint8Array>
  /** Watches the worker, if there is one. The owner of `rest` stops it when `rest` has ended. */
  watch: Watch | undefined
}

/** The origin of an answer that no pool gives; see hosted-call.ts. */
interface HostedEndpoint extends Pick<GrantedLease, 'waitedMs' | 'position'> {
  pool: 'hosted'
  endpoint: { workerId: string }
}
