/** The answer that explains the routing of a request. */
import { z } from 'zod'
import { EffortWord } from '../../../backends/model/effort.ts'
import { PoolName } from '../../../backends/wire/dispatch.ts'
import type { Decision } from '../../fleet/decisions/decisions.ts'
import type { Fit } from '../../fleet/placement/score.ts'
import { priorityClasses } from '../../fleet/queue/fair-queue.ts'
import type { WaitView } from '../../fleet/views.ts'
import type { RequestPageView } from '../../tenant/list-requests.ts'
import { Count, Id, Time, TimeOrNull } from './fields.ts'
import { OwnEntry, RequestEntries } from './tenants.ts'

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
  failed: z
    .strictObject({ code: z.string(), reason: z.string() })
    .nullable()
    .exactOptional()
    .describe('Why the attempt gave no answer; null or absent if it did, or may yet.'),
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

const known = 'Null while the request runs, or if an older version served it.'
const summary = {
  requestId: Id,
  createdAt: Time.describe('The time of its admission in Unix milliseconds.'),
  settledAt: TimeOrNull.describe('The time of its last receipt.'),
  outcome: z
    .string()
    .nullable()
    .describe(
      '`running`, `finished`, `aborted` by the client, `failed` at a worker, `voided` without work, or `expired`.',
    ),
  keyId: Id,
  model: z.string().nullable(),
  effort: z.string().nullable().describe('The effort that served it.'),
  pool: z.string().nullable(),
  user: z.string().nullable().describe('The end user that the request named.'),
  tags: z.array(z.string()).describe('The tags of its metadata and of the header `x-tramontane-tags`.'),
  promptTokens: Count.nullable(),
  cachedTokens: Count.nullable(),
  outputTokens: Count.nullable(),
  reasoningTokens: Count.nullable(),
  estimated: z.boolean().nullable().describe('Whether counts are estimated.'),
  costNano: z.int().nullable().describe(`The cost, with corrections. ${known}`),
  boundNano: Count.describe('The most that it may cost: the amount that was reserved.'),
}
const nextRequest = z
  .string()
  .nullable()
  .describe('The value of `before` for the next page; null on the last page. A page may have fewer items than `limit`.')

export const OwnRequestList = z
  .strictObject({
    object: z.literal('list'),
    data: z.array(z.strictObject(summary).meta({ id: 'OwnRequest' })),
    next: nextRequest,
  })
  .meta({ id: 'OwnRequestList' }) satisfies z.ZodType<RequestPageView>

export const ShownRequest = z
  .strictObject({
    object: z.literal('request'),
    ...summary,
    routing: z
      .strictObject({
        preferredPool: PoolName,
        priorityClass: z.enum(priorityClasses),
        promptTokens: Count.describe('The estimate with which a worker was chosen.'),
        expectedOutputTokens: z.number(),
        attempts: z.array(
          z.strictObject({
            at: Time,
            pool: PoolName,
            why: z.string(),
            waitedMs: z.number(),
            position: Count.nullable().describe('Queue position on arrival; null if the request did not wait.'),
            failed: z.string().nullable().describe('Why the attempt gave no answer; null if it did, or may yet.'),
          }),
        ),
      })
      .nullable()
      .describe('Why the request went where it went. Null if it waits, or is no longer among the last 50,000.'),
    entries: z.array(OwnEntry),
  })
  .meta({ id: 'ShownRequest' })

export const RequestList = z
  .strictObject({ data: z.array(z.strictObject(summary).meta({ id: 'ListedRequest' })), next: nextRequest })
  .meta({ id: 'RequestList' })

export const FleetRequestList = z
  .strictObject({
    data: z.array(
      z
        .strictObject({
          tenantId: Id,
          cameAt: Time,
          request: z
            .strictObject(summary)
            .nullable()
            .describe('Null if the tenant no longer has it, or never admitted it.'),
          decision: RoutingDecision,
        })
        .meta({ id: 'FleetRequest' }),
    ),
    next: nextRequest,
  })
  .meta({ id: 'FleetRequestList' })

/** The routing as a tenant sees it, without workers. */
export function ownRouting({ preferredPool, priorityClass, promptTokens, expectedOutputTokens, attempts }: Decision) {
  return {
    ...{ preferredPool, priorityClass, promptTokens, expectedOutputTokens },
    attempts: attempts.map(({ at, pool, why, waitedMs, position, failed }) => {
      return { at, pool, why, waitedMs, position, failed: failed?.code ?? null }
    }),
  }
}
