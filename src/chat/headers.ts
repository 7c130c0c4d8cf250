/** The headers of every answer: ids, requested and served effort, limits, warnings. */
import { cleanText, warningsHeaderValue } from '../../backends/model/clean-text.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { warningsHeader } from '../../backends/wire/dispatch.ts'
import { warningIn } from '../dialects/field-names.ts'
import type { RatesLeft } from '../tenant/limits/rates-left.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { Answered } from './answered.ts'
import type { RequestContext } from './context.ts'
import type { PreparedRequest } from './prepare.ts'

/** What a worker says before its answer. */
export type WorkerTerms = Pick<Answered, 'outputTokensMax' | 'warnings'>

/** The facts about an answer when its headers are sent, which is before its first byte for a stream that waits. */
export interface Origin {
  contentType: string
  /** Its pool and worker; undefined while the request waits. */
  served: ({ pool: string; workerId: string } & WorkerTerms) | undefined
  answering: boolean
  /** The current or past position in the queue, with the expected or past wait. */
  queue: { position: number; waitMs: number | null } | undefined
  /** The effort that was lowered under load. */
  lowered: EffortWord | undefined
  now: number
}

/** All headers of an answer, from values, in one place. */
export function answerHeaders(
  context: RequestContext,
  prepared: PreparedRequest,
  admission: Admission,
  { contentType, served, answering, queue, lowered, now }: Origin,
): Headers {
  const { alias, effort } = prepared
  const requested = effort.asked ?? effort.effective
  const underLoad = `effort lowered from ${requested} to ${lowered} under load, as this tenant's settings allow`
  const given = namedWarnings(context, served?.warnings ?? [])
  // The worker may have counted a longer prompt, which takes a part of the reservation.
  const outputTokensMax = served?.outputTokensMax ?? admission.outputTokensMax
  const warnings = [
    ...prepared.warnings,
    ...given,
    ...(lowered === undefined ? [] : [underLoad]),
    ...(outputTokensMax < prepared.outputTokens ? [shortened(outputTokensMax)] : []),
  ]
  const optional: [string, string | null | undefined][] = [
    ['x-tramontane-model-asked', alias?.id],
    ['deprecation', alias?.deprecatedOn && deprecatedSince(alias.deprecatedOn)],
    ['x-tramontane-effort-asked', effort.asked],
    ['x-tramontane-pool', served?.pool],
    ['x-tramontane-worker', served && cleanText(served.workerId, 64)],
    ['openai-processing-ms', answering ? String(now - context.startedAt) : null],
    ['x-tramontane-queue-position', queue && String(queue.position)],
    ['x-tramontane-queue-wait-ms', queue?.waitMs == null ? null : String(queue.waitMs)],
    [warningsHeader, warnings.length > 0 ? warningsHeaderValue(warnings) : null],
  ]
  return new Headers([
    ['x-request-id', context.requestId],
    ['request-id', context.requestId],
    ['content-type', contentType],
    ['x-tramontane-effort', lowered ?? effort.effective],
    ['x-tramontane-model', prepared.model.id],
    ['cache-control', 'no-store'],
    ...rateHeaders(admission.ratesLeft),
    ...context.dialect.rateHeaders(admission.ratesLeft, context.startedAt),
    ...optional.filter((header): header is [string, string] => header[1] != null && header[1] !== ''),
  ])
}

function shortened(outputTokensMax: number): string {
  return `the answer is limited to ${outputTokensMax} tokens, which is what rates and budgets still allow`
}

/** The warnings of a worker that answers a stream whose headers were sent while it waited, as an SSE comment. */
export function lateWarnings(context: RequestContext, { outputTokensMax, warnings }: WorkerTerms): string {
  const all = [
    ...namedWarnings(context, warnings),
    ...(outputTokensMax === undefined ? [] : [shortened(outputTokensMax)]),
  ]
  return all.length === 0 ? '' : `: warnings: ${warningsHeaderValue(all)}\n\n`
}

function namedWarnings({ dialect }: RequestContext, warnings: readonly string[]): string[] {
  return warnings.map((warning) => warningIn(dialect, warning))
}

/** RFC 9745: `@` and seconds since 1970. */
function deprecatedSince(day: string): string {
  return `@${Date.parse(day) / 1_000}`
}

/**
 * The remaining rates: OpenAI's six headers, and the two of the IETF draft (draft-ietf-httpapi-ratelimit-headers).
 * A rate without a limit has no headers.
 */
export function rateHeaders(left: RatesLeft): [string, string][] {
  const rates = [
    ['requests', left.requests],
    ['tokens', left.tokens],
  ] as const
  const known = rates.flatMap(([name, rate]) => (rate ? [{ name, ...rate }] : []))
  if (known.length === 0) return []
  const six = known.flatMap(({ name, limit, left: remaining, resetMs }): [string, string][] => [
    [`x-ratelimit-limit-${name}`, String(limit)],
    [`x-ratelimit-remaining-${name}`, String(remaining)],
    [`x-ratelimit-reset-${name}`, resetMs < 1_000 ? `${resetMs}ms` : `${Math.ceil(resetMs / 1_000)}s`],
  ])
  const policy = known.map(({ name, limit }) => `"${name}";q=${limit};w=60`).join(', ')
  const now = known.map(
    ({ name, left: remaining, resetMs }) => `"${name}";r=${remaining};t=${Math.ceil(resetMs / 1_000)}`,
  )
  return [...six, ['ratelimit-policy', policy], ['ratelimit', now.join(', ')]]
}
