/**
 * Verifies a worker's heartbeat and passes it to the fleet object, then probes the worker if the fleet requests it. A
 * heartbeat proves that the worker runs; only a call to its address proves that the edge can reach it.
 */
import { z } from 'zod'
import { below } from '../../backends/contract/root.ts'
import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import { Refusal } from '../../backends/wire/dispatch.ts'
import { Heartbeat, type HeartbeatAnswer } from '../../backends/wire/heartbeat.ts'
import { type Inquiry, InquiryAnswer, inquiryPath } from '../../backends/wire/inquiry.ts'
import { protocolVersion, unspokenCode } from '../../backends/wire/protocol.ts'
import { openWorkerWord, sealFor } from '../auth/worker-key.ts'
import type { Settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { type FleetBinding, fleetOf } from './client.ts'
import { HeartbeatRate } from './heartbeat-rate.ts'
import type { HeartbeatReply } from './membership.ts'
import { readWorkerAnswer } from './worker-answer.ts'
import { enrolmentOf, fenceOf, findWorker } from './worker-rows.ts'

/** The response is two empty lists, or a refusal. */
const probeAnswerBytesMax = 4_096
const rate = new HeartbeatRate()
interface HeartbeatEnv extends FleetBinding {
  DB: D1Database
}

const HeartbeatCall = z.object({ heartbeat: z.string().max(128 * 1024) })

/** @param after keeps work alive after the response */
export async function takeHeartbeat(
  body: unknown,
  env: HeartbeatEnv,
  settings: Settings,
  after: (work: Promise<unknown>) => void,
): Promise<{ status: 200 | 403 | 409; answer: HeartbeatAnswer }> {
  const call = HeartbeatCall.safeParse(body)
  const token = call.success ? call.data.heartbeat : ''
  const word = await openWorkerWord('heartbeat', [token], settings.fleetSecrets, Heartbeat)
  /** The heartbeat, or the version of one that this edge does not read. */
  const heard = word?.kind === 'unspoken' ? word.version : word?.claims[0]
  if (!word || heard === undefined || (typeof heard === 'object' && heard.workerId !== word.workerId)) {
    throw new GatewayError(
      'permission_denied',
      'The heartbeat is not signed with a key of this fleet, or has an invalid field. Enrol the worker again, or update it.',
    )
  }
  const { workerId, epoch, secretId } = word
  if (!rate.allows(workerId, Date.now())) {
    const message = `worker ${workerId} sends more than ${budgets.heartbeatsPerSecond.value} heartbeats a second. Send one a second.`
    throw new GatewayError('rate_limit_exceeded', message, { retryAfterMs: 1_000 })
  }
  const fleet = fleetOf(env)
  const { status, answer, probe } = await hear(env, workerId, () =>
    typeof heard === 'object' ? fleet.heartbeat(heard, epoch, secretId) : fleet.unspoken(workerId, epoch, heard),
  )
  if (probe) after(probeWorker(env, settings, workerId, probe))
  return { status, answer: { ...answer, protocol: typeof heard === 'object' ? heard.protocol : protocolVersion } }
}

/** Looks up an unknown worker in D1: it may have been enrolled before enrolments were pushed to the fleet object. */
async function hear(env: HeartbeatEnv, workerId: string, call: () => Promise<HeartbeatReply>): Promise<HeartbeatReply> {
  const heard = await call()
  if (!heard.lookUp) return heard
  const row = await findWorker(env.DB, workerId).catch((error: unknown) => {
    console.warn(`worker ${workerId}: the operator's database does not answer`, error)
    return null
  })
  if (!row) return heard
  await fleetOf(env).enrol(enrolmentOf(row), fenceOf(row))
  return call()
}

/** Sends an inquiry without requests. A valid answer proves the worker's address, its key and a synchronised clock. */
async function probeWorker(
  env: HeartbeatEnv,
  settings: Settings,
  workerId: string,
  { url, instance, keyEpoch, secretId, protocol }: NonNullable<HeartbeatReply['probe']>,
): Promise<void> {
  const claims: Inquiry = { workerId, requestIds: [], expiresAt: Date.now() + budgets.workerProbeMs.value }
  const token = await sealFor(settings.fleetSecrets, { workerId, keyEpoch, secretId, protocol }, 'inquiry', claims)
  const address = cleanText(url, 120)
  let fault: string | undefined
  try {
    const response = await fetch(below(url, inquiryPath), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      // A redirect would bypass the enrolled address.
      redirect: 'manual',
      signal: AbortSignal.timeout(budgets.workerProbeMs.value),
    })
    fault = await probeFault(response, address)
  } catch (error) {
    const why = cleanText(error instanceof Error ? error.message : String(error), 200)
    fault = `the edge cannot reach the worker at ${address} (${why}). Check the address, its port and the network.`
  }
  if (fault) console.warn(`worker ${workerId}: ${fault}`)
  await fleetOf(env).probed({ workerId, instance, fault })
}

async function probeFault(response: Response, address: string): Promise<string | undefined> {
  const { status, ok } = response
  const said = await readWorkerAnswer(response, probeAnswerBytesMax).catch(() => undefined)
  if (ok && InquiryAnswer.safeParse(said).success) return undefined
  const refusal = Refusal.safeParse(said).data
  if (refusal?.code === unspokenCode)
    return `the worker at ${address} refuses the probe: ${cleanText(refusal.message, 300)}`
  if (status === 401)
    return `the worker at ${address} refuses the edge's signature. Another worker has this address, or its clock is wrong.`
  return `the server at ${address} is not this worker (HTTP ${status}). Check the address and its port.`
}
