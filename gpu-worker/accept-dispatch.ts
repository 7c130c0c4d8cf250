/**
 * Verifies a signed request by its header, before any of its body is read. The token must be signed by this worker's
 * edge, have a version that this worker reads, name this worker, be within its time, and (for a dispatch) be unused.
 */
import type { z } from 'zod'
import { clockSkewMs, Dispatch, dispatchTtlMs } from '../backends/wire/dispatch.ts'
import { unspokenCode, unspokenText } from '../backends/wire/protocol.ts'
import { type Seal, unseal } from '../backends/wire/seal.ts'

interface Unaccepted {
  ok: false
  code: 'bad_dispatch' | 'replayed_dispatch' | typeof unspokenCode
  message: string
}
export type Accepted<Claims> = { ok: true; claims: Claims } | Unaccepted

export interface AcceptedBy {
  workerId: string
  key: CryptoKey
}

/** Ids of used dispatches, each remembered until its token can no longer be valid. */
export class UsedDispatches {
  readonly #until = new Map<string, number>()

  /** Returns true the first time an id is used. */
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
    return { ok: false, code: 'replayed_dispatch', message: 'the dispatch was already used' }
  }
  return accepted
}

interface Timed {
  workerId: string
  issuedAt?: number
  expiresAt: number
}

/** Reads a claim of any kind that the edge signed for this worker from the `authorization` header. */
export async function acceptClaims<Claims extends Timed>(
  kind: Seal,
  schema: z.ZodType<Claims>,
  authorization: string | undefined,
  self: AcceptedBy,
  now: number,
): Promise<Accepted<Claims>> {
  const token = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1]
  if (!token) return refuse('authorization: the signed token is missing. This port serves only the gateway')
  const opened = await unseal(kind, token, self.key, schema)
  if (opened.kind === 'invalid') return refuse(`the ${kind} is not signed with this worker’s key`)
  if (opened.kind === 'unspoken') {
    return { ok: false, code: unspokenCode, message: unspokenText('the gateway', opened.version, 'this worker') }
  }
  const { claims } = opened
  if (claims.workerId !== self.workerId) return refuse(`the ${kind} is for another worker`)
  const { issuedAt = now, expiresAt } = claims
  if (now > expiresAt + clockSkewMs || now < issuedAt - clockSkewMs) {
    return refuse(
      `the ${kind} has expired, or the clocks of the gateway and this worker differ. Synchronize both clocks`,
    )
  }
  return { ok: true, claims }
}

function refuse(message: string): Unaccepted {
  return { ok: false, code: 'bad_dispatch', message }
}
