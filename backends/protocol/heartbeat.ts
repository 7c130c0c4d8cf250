/** A worker's signed word on its state, once a second and at every change: what the pool's registry is made of. */
import { z } from 'zod'
import { PoolName } from './dispatch.ts'

const Count = z.int().min(0)

export const slotsPerWorkerMax = 1_024

export const Heartbeat = z.object({
  workerId: z.string().min(1).max(64),
  pool: PoolName,
  /** Where the edge reaches this worker. */
  url: z.url({ protocol: /^https?$/ }).max(512),
  model: z.string().min(1).max(64),
  engine: z.string().max(64),
  /** gone: it leaves in order and owes nothing; the registry forgets it. */
  state: z.enum(['ready', 'draining', 'down', 'gone']),
  slotsMax: z.int().min(1).max(slotsPerWorkerMax),
  contextTokens: Count,
  vision: z.boolean(),
  /** Request ids that hold a slot: what the pool reconciles its leases with. */
  running: z.array(z.string().max(64)).max(slotsPerWorkerMax),
  kvTokens: Count,
  kvTokensMax: Count,
  /** Tokens since the worker's start. */
  promptTokensTotal: Count,
  cachedTokensTotal: Count,
  outputTokensTotal: Count,
  /** Unix milliseconds of the worker's clock; a pool ignores one older than the last. */
  sentAt: z.int(),
})
export type Heartbeat = z.infer<typeof Heartbeat>

export const heartbeatPath = '/internal/heartbeat'
export const heartbeatEveryMs = 1_000
/** A worker that misses three is out. */
export const heartbeatLostMs = 3_500
