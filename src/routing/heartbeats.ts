/** A worker's heartbeat, checked by its key, goes to its pool's registry. */
import { z } from 'zod'
import { Heartbeat } from '../../backends/protocol/heartbeat.ts'
import { openWorkerWord } from '../auth/fleet.ts'
import type { Env, Settings } from '../env.ts'
import { GatewayError } from '../errors.ts'
import { fleetOf } from './fleet.ts'

const HeartbeatCall = z.object({ heartbeat: z.string().max(128 * 1024) })

export async function takeHeartbeat(body: unknown, env: Env, settings: Settings): Promise<void> {
  const call = HeartbeatCall.safeParse(body)
  const token = call.success ? call.data.heartbeat : ''
  const word = await openWorkerWord('heartbeat', [token], settings.fleet, Heartbeat)
  const [beat] = word?.claims ?? []
  if (!word || beat?.workerId !== word.workerId) {
    throw new GatewayError(
      'permission_denied',
      'the heartbeat is not signed with a key of this fleet: enrol the worker again',
    )
  }
  if (await fleetOf(env).heartbeat(beat, word.epoch)) return
  throw new GatewayError(
    'permission_denied',
    `key ${word.epoch} of worker ${word.workerId} was rotated or revoked: start the worker with its newest key`,
  )
}
