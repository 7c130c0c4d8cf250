/** A worker's signed report of its state, sent once a second and at every change. It feeds the fleet's registry. */
import { z } from 'zod'
import { budgets } from '../model/budgets.ts'
import { EffortWord, effortWords } from '../model/effort.ts'
import { PoolName } from './dispatch.ts'
import { ProtocolVersion } from './protocol.ts'

const Count = z.int().min(0)

export const slotsPerWorkerMax = budgets.workerSlots.value

/** What an engine can serve, in addition to images. A request that needs more is refused by it. */
export const ServedCapabilities = z.object({
  efforts: z.array(EffortWord).min(1).max(effortWords.length),
  tools: z.boolean(),
  /** Supports `required` and a named tool. */
  forcedTool: z.boolean(),
  jsonObject: z.boolean(),
  jsonSchema: z.boolean(),
  /** Continues an assistant message. */
  prefix: z.boolean(),
  /** Stop strings in one request. */
  stopsMax: Count,
})
export type ServedCapabilities = z.infer<typeof ServedCapabilities>

export const Heartbeat = z.object({
  workerId: z.string().min(1).max(64),
  /** The seal adds it. The edge writes to the worker in this version. */
  protocol: ProtocolVersion,
  pool: PoolName,
  /** The address at which the edge reaches this worker. */
  url: z.url({ protocol: /^https?$/ }).max(512),
  model: z.string().min(1).max(64),
  engine: z.string().max(64),
  /** gone: the worker shut down cleanly with all receipts delivered; the registry removes it. */
  state: z.enum(['ready', 'draining', 'down', 'gone']),
  /** Why the engine is not ready. Older workers do not send it. */
  reason: z.string().max(budgets.workerReasonCharacters.value).nullish(),
  slotsMax: z.int().min(1).max(slotsPerWorkerMax),
  contextTokens: Count,
  vision: z.boolean(),
  /** Absent from older workers, whose engines then count as able to serve every request. */
  capabilities: ServedCapabilities.optional(),
  /** Ids of the requests that hold a slot. The fleet reconciles its leases with them. */
  running: z.array(z.string().max(64)).max(slotsPerWorkerMax),
  kvTokens: Count,
  kvTokensMax: Count,
  /** Tokens since the worker's start. */
  promptTokensTotal: Count,
  cachedTokensTotal: Count,
  outputTokensTotal: Count,
  /**
   * Unix milliseconds of the worker's clock. The fleet ignores a heartbeat that is not newer than the instance's last.
   */
  sentAt: z.int(),
  /** Random per process: two instances with one worker id are two processes with one key. */
  instance: z.string().min(1).max(64),
  /** Start of this process, in Unix milliseconds of the worker's clock. */
  startedAt: z.int(),
  /** The instance of the previous process in the same folder. It has ended: a folder has one owner at a time. */
  replaces: z.string().max(64).nullable(),
  /** How the previous process ended, if it did not shut down cleanly. */
  lastEnd: z.string().max(budgets.workerReasonCharacters.value).nullable(),
})
export type Heartbeat = z.infer<typeof Heartbeat>

export const workerStates = [
  'ready',
  'draining',
  'down',
  /** It shut down cleanly. */
  'gone',
  /** The edge cannot reach it at its address. */
  'unreachable',
  /** Another process sends heartbeats with the same worker id. */
  'duplicate',
  /** Its clock differs too much from the edge's. */
  'clock',
  /** Its heartbeat contradicts its enrolment, or its key is no longer valid. */
  'refused',
  /** It writes a version of the protocol that the edge does not read. */
  'incompatible',
] as const
export type WorkerState = (typeof workerStates)[number]

/** The fields that a worker reads. Every version has them, so that a worker can name an edge of another version. */
export const HeartbeatAnswerHead = z.object({
  /** Unix milliseconds of the edge's clock. */
  edgeNow: z.int(),
  /** The version in which the edge writes to this worker; its own version if it does not read the worker's. */
  protocol: ProtocolVersion,
  /** `incompatible` in every version if the edge does not read the worker's. */
  state: z.string(),
  /** One sentence for the worker's log and for the operator. */
  reason: z.string().optional(),
})

/** The edge's answer: 200 if it accepts the heartbeat, 403 or 409 if it refuses it. */
export const HeartbeatAnswer = HeartbeatAnswerHead.extend({ state: z.enum(workerStates) })
export type HeartbeatAnswer = z.infer<typeof HeartbeatAnswer>

export const heartbeatPath = '/internal/heartbeat'
export const heartbeatEveryMs = 1_000
/** The fleet drops a worker that misses three heartbeats. */
export const heartbeatLostMs = 3_500
