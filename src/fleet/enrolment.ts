/**
 * What a worker may be: its address, pools, models and slots, as the operator enrolled it. Every heartbeat is held
 * against it, so that a worker, or a stolen worker key, cannot choose where the edge sends prompts.
 *
 * A null field was never named: the worker was enrolled before fields had to be. Its first heartbeat names it, once.
 */

import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import { type PoolName, poolNames } from '../../backends/wire/dispatch.ts'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { addressAllows, formatWorkerAddress, readWorkerAddress } from '../../backends/wire/worker-address.ts'

export interface Enrolment {
  workerId: string
  /** Raised with each change: of two that arrive out of turn the higher one holds. */
  revision: number
  /** As `formatWorkerAddress` writes it; the port may be `*`. */
  url: string | null
  pools: readonly PoolName[]
  models: readonly string[] | null
  slotsMax: number | null
  /** True where a heartbeat named some of it. */
  pinned: boolean
}

export type Claims = Pick<Heartbeat, 'url' | 'pool' | 'model' | 'slotsMax'>

export type ClaimsCheck =
  /** `url` is the claimed address as the edge writes it. */
  { ok: true; url: string } | { ok: false; reason: string }

/** Whether a heartbeat claims no more than its worker is enrolled for. */
export function checkClaims(enrolment: Enrolment, claims: Claims): ClaimsCheck {
  const { workerId, pools, models, slotsMax } = enrolment
  const claimed = readWorkerAddress(claims.url, 'one-port')
  const wrong = (claim: string, enrolled: string): ClaimsCheck => ({
    ok: false,
    reason: cleanText(
      `worker ${workerId} claims ${claim} and is enrolled for ${enrolled}. Start it as it is enrolled, or change its enrolment with PATCH /admin/workers/${workerId}.`,
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

/** The enrolment with what a first heartbeat names, or undefined where nothing was open. */
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

/** The one with the higher revision. What it leaves open stays as it was pinned. */
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
