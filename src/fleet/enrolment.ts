/**
 * Enrolment: the address, pools, models and slots that the operator allows a worker. The edge checks every heartbeat
 * against it, so a worker, or a stolen worker key, cannot choose where the edge sends prompts.
 *
 * A null field was never set: the worker was enrolled before fields were required. Its first heartbeat sets it, once.
 */

import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { addressAllows, formatWorkerAddress, readWorkerAddress } from '../../backends/wire/worker-address.ts'

export interface Enrolment {
  workerId: string
  /** Grows with each change. If changes arrive out of order, the higher revision wins. */
  revision: number
  /** In the form of `formatWorkerAddress`; the port may be `*`. */
  url: string | null
  pools: readonly PoolName[]
  models: readonly string[] | null
  slotsMax: number | null
  /** Whether a heartbeat set at least one field. */
  pinned: boolean
}

export type Claims = Pick<Heartbeat, 'url' | 'pool' | 'model' | 'slotsMax'>

export type ClaimsCheck =
  /** `url` is the claimed address in the edge's canonical form. */
  { ok: true; url: string } | { ok: false; reason: string }

/** Whether a heartbeat claims no more than its worker is enrolled for. */
export function checkClaims(enrolment: Enrolment, claims: Claims): ClaimsCheck {
  const { workerId, pools, models, slotsMax } = enrolment
  const claimed = readWorkerAddress(claims.url, 'one-port')
  const wrong = (claim: string, enrolled: string): ClaimsCheck => ({
    ok: false,
    reason: cleanText(
      `worker ${workerId} claims ${claim} and is enrolled for ${enrolled}. Start it as enrolled, or change its enrolment with PATCH /admin/workers/${workerId}.`,
      budgets.workerReasonCharacters.value,
    ),
  })
  const address = `the address ${cleanText(claims.url, 120)}`
  if (!claimed.ok)
    return { ok: false, reason: cleanText(`${address} ${claimed.message}`, budgets.workerReasonCharacters.value) }
  const enrolled = enrolment.url === null ? undefined : readWorkerAddress(enrolment.url, 'any-port')
  if (enrolled && !(enrolled.ok && addressAllows(enrolled.address, claimed.address)))
    return wrong(address, `${cleanText(enrolment.url ?? '', 120)}`)
  if (!pools.includes(claims.pool)) return wrong(`pool ${claims.pool}`, `${pools.join(' and ')}`)
  if (models && !models.includes(claims.model)) return wrong(`model ${cleanText(claims.model, 64)}`, models.join(', '))
  if (slotsMax !== null && claims.slotsMax > slotsMax) return wrong(`${claims.slotsMax} slots`, `at most ${slotsMax}`)
  return { ok: true, url: formatWorkerAddress(claimed.address) }
}

/** Sets the null fields of the enrolment from a first heartbeat. Returns undefined if none is null. */
export function pinTo(enrolment: Enrolment, claims: Claims): Enrolment | undefined {
  const { url, models, slotsMax } = enrolment
  if (url !== null && models !== null && slotsMax !== null) return undefined
  return {
    ...enrolment,
    url: url ?? claims.url,
    models: models ?? [claims.model],
    slotsMax: slotsMax ?? Math.max(claims.slotsMax, budgets.workerSlotsDefault.value),
    pinned: true,
  }
}

/** The enrolment with the higher revision. Its null fields keep their pinned values. */
export function joinEnrolments(known: Enrolment | undefined, added: Enrolment): Enrolment {
  if (!known) return added
  if (added.revision < known.revision) return known
  const pinned = known.pinned && (added.url === null || added.models === null || added.slotsMax === null)
  return {
    ...added,
    url: added.url ?? known.url,
    models: added.models ?? known.models,
    slotsMax: added.slotsMax ?? known.slotsMax,
    pinned,
  }
}

export const anyPool: readonly PoolName[] = poolNames
