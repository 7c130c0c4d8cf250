/** Answers about workers, pools and refused receipts. */
import { z } from 'zod'
import { PoolName } from '../../../backends/wire/dispatch.ts'
import { workerStates } from '../../../backends/wire/heartbeat.ts'
import type { FleetReport } from '../../fleet/fleet-report.ts'
import { listBefore, listOf } from '../../http/page.ts'
import { Count, Id, Time, TimeOrNull } from './fields.ts'

const allowed = {
  url: z.string().nullable().describe('Null until the first heartbeat sets it.'),
  pools: z.array(PoolName),
  models: z.array(z.string()).nullable().describe('Null until the first heartbeat sets them.'),
  slotsMax: Count.nullable().describe('Null until the first heartbeat sets it.'),
  pinned: z.boolean().describe('Whether a heartbeat set at least one of these fields.'),
}
const enrolled = {
  workerId: Id,
  status: z.enum(['enrolled', 'revoked']),
  epoch: Count.describe('Number of the worker’s newest key.'),
  enrolledAt: Time,
  rotatedAt: TimeOrNull,
  revokedAt: TimeOrNull,
  ...allowed,
}
const current = {
  state: z.enum(workerStates).nullable().describe('Null if no process of the worker sends heartbeats.'),
  reason: z.string().nullable().describe('Why the worker gets no requests, or a hint for the operator.'),
  heartbeatAgeMs: z.int().nullable(),
  startedAt: z.int().nullable().describe('Start of the process, in Unix milliseconds of its own clock.'),
  lastEnd: z.string().nullable().describe('How the previous process ended, if it did not shut down normally.'),
}

export const EnrolledWorker = z.strictObject(enrolled).meta({ id: 'EnrolledWorker' })
export const NewWorkerKey = z
  .strictObject({ ...enrolled, workerKey: z.string().describe('The key. No later answer contains it.') })
  .meta({ id: 'NewWorkerKey' })
export const WorkerAnswer = z.strictObject({ ...enrolled, ...current }).meta({ id: 'Worker' })
export const WorkerList = listOf(WorkerAnswer, 'WorkerList')

const Pool = z
  .strictObject({
    slots: Count,
    leased: Count,
    unleased: Count.describe('Requests that run without a lease, such as those from before a restart of the fleet.'),
    waiting: Count.describe('Requests in the queue.'),
    workers: z.array(
      z.strictObject({
        ...current,
        workerId: Id,
        state: z.enum(workerStates),
        url: z.string(),
        model: z.string(),
        engine: z.string(),
        vision: z.boolean(),
        assignedPool: PoolName,
        slots: Count,
        leased: Count,
        enrolment: z.strictObject(allowed).nullable(),
      }),
    ),
  })
  .meta({ id: 'Pool' })
export const Pools = z
  .strictObject({ latency: Pool, throughput: Pool })
  .meta({ id: 'Pools' }) satisfies z.ZodType<FleetReport>

export const RefusedReceiptAnswer = z
  .strictObject({
    seq: Count,
    workerId: Id,
    dispatchId: Id,
    tenantId: Id.nullable(),
    requestId: Id.nullable(),
    reason: z.string(),
    receipt: z
      .record(z.string(), z.unknown())
      .describe('The receipt as the worker signed it. Its fields may be false.'),
    state: z.enum(['refused', 'settled']),
    firstAt: Time,
    lastAt: Time,
    times: Count.describe('How often the worker sent it.'),
  })
  .meta({ id: 'RefusedReceipt' })
export const RefusedReceiptList = listBefore(RefusedReceiptAnswer, 'RefusedReceiptList')

export const SettledReceipt = z
  .strictObject({
    dispatchId: Id,
    tenantId: Id,
    answer: z.enum(['posted', 'late', 'wasted', 'already-posted']),
    costNano: Count,
    shortNano: Count.describe('Part of the cost that no budget covered, in nano-dollars.'),
  })
  .meta({ id: 'SettledReceipt' })
