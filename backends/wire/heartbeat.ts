/** A worker's signed report on its state, once a second and at every change; the fleet's registry is made of them. */
import { z } from 'zod'
import { budgets } from '../model/budgets.ts'
import { PoolName } from './dispatch.ts'

const Count = z.int().min(0)

export const slotsPerWorkerMax = budgets.workerSlots.value

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
  /** Unix milliseconds of the worker's clock; the fleet ignores one that is not newer than the last of this instance. */
  sentAt: z.int(),
  /** Random, new with each process: two instances with one worker id are two processes with one key. */
  instance: z.string().min(1).max(64),
  /** When this process began, in Unix milliseconds of the worker's clock. */
  startedAt: z.int(),
  /** The instance that surely ended: the process before this one in the same folder, which has one owner at a time. */
  replaces: z.string().max(64).nullable(),
  /** How the process before this one ended, where it did not end in order. */
  lastEnd: z.string().max(budgets.workerReasonCharacters.value).nullable(),
})
export type Heartbeat = z.infer<typeof Heartbeat>

const workerStates = [
  'ready',
  'draining',
  'down',
  /** It left in order. */
  'gone',
  /** The edge cannot reach it at its address. */
  'unreachable',
  /** Another process beats with the same worker id. */
  'duplicate',
  /** Its clock differs too much from the edge's. */
  'clock',
  /** It claims what its enrolment does not allow, or its key is no longer good. */
  'refused',
] as const
export type WorkerState = (typeof workerStates)[number]

/** What the edge answers: 200 where the beat counts, 403 or 409 where it does not. */
export const HeartbeatAnswer = z.object({
  /** Unix milliseconds of the edge's clock. */
  edgeNow: z.int(),
  state: z.enum(workerStates),
  /** One sentence for the worker's log and for the operator. */
  reason: z.string().optional(),
})
export type HeartbeatAnswer = z.infer<typeof HeartbeatAnswer>

export const heartbeatPath = '/internal/heartbeat'
export const heartbeatEveryMs = 1_000
/** A worker that misses three is out. */
export const heartbeatLostMs = 3_500
