/**
 * Accepting a dispatch: only from this worker's edge, only for this worker, only now, only this body, and once.
 */
import { clockSkewMs, Dispatch, dispatchTtlMs } from '../backends/protocol/dispatch.ts'
import { digest, unseal } from '../backends/protocol/seal.ts'

export type Accepted =
  | { ok: true; dispatch: Dispatch }
  | { ok: false; code: 'bad_dispatch' | 'replayed_dispatch'; message: string }

/** Dispatch ids that were used, until they have expired anyhow. */
export class UsedDispatches {
  readonly #until = new Map<string, number>()

  /** True the first time. */
  use(dispatchId: string, now: number): boolean {
    for (const [id, until] of this.#until) {
      if (until > now) break
      this.#until.delete(id)
    }
    if (this.#until.has(dispatchId)) return false
    this.#until.set(dispatchId, now + dispatchTtlMs + 2 * clockSkewMs)
    return true
  }
}

export async function acceptDispatch(
  authorization: string | undefined,
  body: Uint8Array<ArrayBuffer>,
  self: { workerId: string; key: CryptoKey; used: UsedDispatches },
  now: number,
): Promise<Accepted> {
  const token = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1]
  if (!token) return refuse('no dispatch: this port serves the gateway only')
  const dispatch = await unseal('dispatch', token, self.key, Dispatch)
  if (!dispatch) return refuse('the dispatch is not signed with this worker’s key')
  if (dispatch.workerId !== self.workerId) return refuse('the dispatch is for another worker')
  if (now > dispatch.expiresAt + clockSkewMs || now < dispatch.issuedAt - clockSkewMs) {
    return refuse('the dispatch has expired, or the clocks of the gateway and this worker differ')
  }
  if ((await digest(body)) !== dispatch.bodyDigest) return refuse('the body is not the one that was signed')
  if (!self.used.use(dispatch.dispatchId, now)) {
    return { ok: false, code: 'replayed_dispatch', message: 'this dispatch was used already' }
  }
  return { ok: true, dispatch }
}

function refuse(message: string): Accepted {
  return { ok: false, code: 'bad_dispatch', message }
}
