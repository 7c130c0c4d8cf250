/** A worker's heartbeat, checked by its key, goes to its pool's registry. */
import { z } from 'zod'
import { Heartbeat } from '../../backends/protocol/heartbeat.ts'
import { sealedBy, unseal } from '../../backends/protocol/seal.ts'
import { parseKeyId } from '../../backends/protocol/worker-key.ts'
import { workerSealKey } from '../auth/fleet.ts'
import type { Env, Settings } from '../env.ts'
import { GatewayError } from '../errors.ts'
import { fleetOf } from './fleet.ts'

const HeartbeatCall = z.object({ heartbeat: z.string().max(128 * 1024) })

export async function takeHeartbeat(body: unknown, env: Env, settings: Settings): Promise<void> {
  const call = HeartbeatCall.safeParse(body)
  const token = call.success ? call.data.heartbeat : ''
  const by = parseKeyId(sealedBy(token) ?? '')
  const key = by && (await workerSealKey(settings.fleet, by.workerId, by.epoch))
  const beat = key && (await unseal('heartbeat', token, key, Heartbeat))
  if (!beat || beat.workerId !== by.workerId) {
    throw new GatewayError(
      'permission_denied',
      'the heartbeat is not signed with a key of this fleet: enrol the worker again',
    )
  }
  if (await fleetOf(env).heartbeat(beat, by.epoch)) return
  throw new GatewayError(
    'permission_denied',
    `key ${by.epoch} of worker ${by.workerId} was rotated or revoked: start the worker with its newest key`,
  )
}
