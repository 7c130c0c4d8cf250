/** The answer that explains the routing of a request. */
import { z } from 'zod'
import { EffortWord } from '../../../backends/model/effort.ts'
import { PoolName } from '../../../backends/wire/dispatch.ts'
import type { Decision } from '../../fleet/decisions/decisions.ts'
import type { Fit } from '../../fleet/placement/score.ts'
import { priorityClasses } from '../../fleet/queue/fair-queue.ts'
import type { WaitView } from '../../fleet/views.ts'
import { Count, Id, Time } from './fields.ts'
import { RequestEntries } from './tenants.ts'

const fits = {
  fits: Count.exactOptional(),
  full: Count.exactOptional(),
  'cache-full': Count.exactOptional(),
  'too-slow': Count.exactOptional(),
  'too-late': Count.exactOptional(),
  'other-pool': Count.exactOptional(),
} satisfies Record<Fit, z.ZodType>

const JudgedCandidate = z.strictObject({
  workerId: Id,
  pool: PoolName,
  assignedPool: PoolName,
  fit: z.enum(Object.keys(fits) as [Fit, ...Fit[]]),
  running: Count,
  free: z.int().describe('Free slots.'),
  heldTokens: z.number().describe('Prompt tokens that the worker likely has cached.'),
  firstTokenMs: z.number().nullable().describe('Predicted; null until such workers are measured.'),
  tokenMs: z.number().nullable(),
  score: z.number().describe('Part of both targets that the request would likely use. The lowest score is chosen.'),
})

const Attempt = z.strictObject({
  at: Time,
  workerId: Id,
  pool: PoolName,
  assignedPool: PoolName,
  why: z.string(),
  waitedMs: z.number(),
  position: Count.nullable().describe('Queue position on arrival; null if the request did not wait.'),
  counts: z.strictObject(fits).describe('Workers of the model by result.'),
  best: z.array(JudgedCandidate),
})

const RoutingDecision = z
  .strictObject({
    requestId: Id,
    tenantId: Id,
    model: z.string(),
    effort: EffortWord,
    preferredPool: PoolName,
    priorityClass: z.enum(priorityClasses),
    weight: Count,
    cameAt: Time,
    promptTokens: Count,
    expectedOutputTokens: z.number(),
    attempts: z.array(Attempt),
    outcome: z.string().nullable().describe('Null while the request waits or runs.'),
    engine: z
      .record(z.string(), z.union([z.number(), z.string(), z.null()]))
      .nullable()
      .describe('Counts and times of the receipt.'),
  })
  .meta({ id: 'RoutingDecision' }) satisfies z.ZodType<Decision>

const Waiting = z.strictObject({
  position: Count,
  of: Count,
  expectedWaitMs: z.number().nullable().describe('Null until the rate of free slots is measured.'),
  askAgainMs: z.number().describe('Milliseconds after which the position may be requested again.'),
}) satisfies z.ZodType<WaitView>

export const ExplainedRequest = z
  .strictObject({
    requestId: Id,
    tenantId: Id,
    decision: RoutingDecision.nullable().describe('Null if the fleet no longer has it.'),
    waiting: Waiting.nullable().describe('Null unless the request waits.'),
    ledger: RequestEntries,
  })
  .meta({ id: 'ExplainedRequest' })
