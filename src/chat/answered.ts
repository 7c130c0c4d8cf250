/** The first bytes of an answer and the state of the attempts behind it. */

import type { GrantedLease } from '../fleet/lease.ts'
import type { Wait } from '../fleet/queue-status.ts'
import type { Watch } from './worker-watch.ts'

export interface Answered {
  lease: GrantedLease | HostedEndpoint
  /** The prompt's exact length, if known before the answer's end. */
  promptTokens: number | undefined
  /** Request fields that the engine ignores, if known before the first byte. */
  warnings: readonly string[]
  first: Uint8Array
  /** The rest of the worker's stream. Its owner cancels it when the client leaves. */
  rest: ReadableStream<Uint8Array>
  /** Watches the worker, if there is one. The owner of `rest` stops it when `rest` has ended. */
  watch: Watch | undefined
}

/** The origin of an answer that no pool gives; see hosted-fallback.ts. */
interface HostedEndpoint extends Pick<GrantedLease, 'waitedMs' | 'position'> {
  pool: 'hosted'
  endpoint: { workerId: string }
}

export interface AttemptState {
  /** The next attempt's first bytes. May be called again after `lost`, until no attempts remain. */
  next(): Promise<Answered>
  /** The stream broke after its first bytes: the worker is excluded until its next heartbeat. */
  lost(served: Answered): void
  /** The answer takes long: from now on its worker is watched. */
  slow(): void
  /** The state of the wait for a slot, during the wait and after it. */
  wait: Pick<Wait, 'look' | 'firstLook' | 'past' | 'lowered'>
  /** Whether `next` failed because no worker has a slot now or in time. */
  nowhere(): boolean
  /** No attempt follows. Closes the reservation, unless a receipt will. */
  cancel(): void
}
