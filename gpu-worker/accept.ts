/**
 * Accepting a signed request by its header alone: only from this worker's edge, only for this worker, only now, and once.
 * Nothing of the body is read before.
 */
import type { z } from 'zod'
import { clockSkewMs, Dispatch, dispatchTtlMs } from '../backends/wire/dispatch.ts'
import { type Seal, unseal } from '../backends/wire/seal.ts'

interface Unaccepted {
  ok: false
  code: 'bad_dispatch' | 'replayed_dispatch'
  message: string
}
export type Accepted<Claims> = { ok: true; claims: Claims } | Unaccepted

export interface AcceptedBy {
  workerId: string
  key: CryptoKey
}

/** Ids that were used, until they have expired anyhow. */
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
  self: AcceptedBy & { used: UsedDispatches },
  now: number,
): Promise<Accepted<Dispatch>> {
  const accepted = await acceptClaims('dispatch', Dispatch, authorization, self, now)
  if (accepted.ok && !self.used.use(accepted.claims.dispatchId, now)) {
    return { ok: false, code: 'replayed_dispatch', message: 'this dispatch was used already' }
  }
  return accepted
}

interface Timed {
  workerId: string
  issuedAt?: number
  expiresAt: number
}

/** A claim of any kind that the edge signs for this worker, from the `authorization` header. */
export async function acceptClaims<Claims extends Timed>(
  kind: Seal,
  schema: z.ZodType<Claims>,
  authorization: string | undefined,
  self: AcceptedBy,
  now: number,
): Promise<Accepted<Claims>> {
  const token = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1]
  if (!token) return refuse('there is no signed token: this port serves the gateway only')
  const claims = await unseal(kind, token, self.key, schema)
  if (!claims) return refuse(`the ${kind} is not signed with this worker’s key`)
  if (claims.workerId !== self.workerId) return refuse(`the ${kind} is for another worker`)
  const { issuedAt = now, expiresAt } = claims
  if (now > expiresAt + clockSkewMs || now < issuedAt - clockSkewMs) {
    return refuse(`the ${kind} has expired, or the clocks of the gateway and this worker differ`)
  }
  return { ok: true, claims }
}

function refuse(message: string): Unaccepted {
  return { ok: false, code: 'bad_dispatch', message }
}
