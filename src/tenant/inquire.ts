/**
 * Asks every worker about overdue requests. The result is `silent` if a worker does not answer, or if the fleet object
 * started so recently that it may not know every worker yet.
 */

import { below } from '../../backends/contract/root.ts'
import { claimedMax, type Inquiry, InquiryAnswer, inquiryPath } from '../../backends/wire/inquiry.ts'
import { sealFor } from '../auth/worker-key.ts'
import { type ConfigVariables, settings } from '../config.ts'
import { type FleetBinding, fleetOf } from '../fleet/client.ts'
import type { WorkerEndpoint } from '../fleet/state.ts'
import { readWorkerAnswer } from '../fleet/worker-answer.ts'
import { type BelievedAnswer, believe } from './believe.ts'
import type { Known } from './overdue.ts'

const answerWithinMs = 5_000
/** A dispatch with its terms and proof takes about 600 bytes. */
const answerBytesMax = claimedMax * 1_024

export async function inquire(env: ConfigVariables & FleetBinding, requestIds: string[], now: number): Promise<Known> {
  const { present, missing, complete } = await fleetOf(env).registry()
  const answers = await Promise.all(present.map((endpoint) => inquireAt(env, endpoint, requestIds, now)))
  const heard = answers.filter((answer) => answer !== undefined)
  return {
    running: new Set(heard.flatMap((answer) => answer.running)),
    owed: new Set(heard.flatMap((answer) => answer.owed)),
    silent: heard.length < answers.length || missing.length > 0 || !complete,
  }
}

/** The requests for which the worker has a proof; undefined if it does not answer. */
async function inquireAt(
  env: ConfigVariables & FleetBinding,
  endpoint: WorkerEndpoint,
  requestIds: string[],
  now: number,
): Promise<BelievedAnswer | undefined> {
  const { workerId, url } = endpoint
  const { fleetSecrets } = await settings(env)
  const claims: Inquiry = { workerId, requestIds, expiresAt: now + answerWithinMs }
  const token = await sealFor(fleetSecrets, endpoint, 'inquiry', claims)
  try {
    const response = await fetch(below(url, inquiryPath), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      // A redirect would bypass the worker's enrolled address.
      redirect: 'manual',
      signal: AbortSignal.timeout(answerWithinMs),
    })
    if (!response.ok) return undefined
    return believe(fleetSecrets, workerId, InquiryAnswer.parse(await readWorkerAnswer(response, answerBytesMax)))
  } catch (error) {
    console.warn(`worker ${workerId} did not answer an inquiry`, error)
    return undefined
  }
}
