/** The headers of every answer: ids, requested and served effort, limits, warnings. */
import { warningsHeaderValue } from '../../backends/model/clean-text.ts'
import { warningsHeader } from '../../backends/wire/dispatch.ts'
import type { RatesLeft } from '../tenant/admission.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { RequestContext } from './context.ts'
import type { PreparedRequest } from './prepare.ts'

export function answerHeaders(context: RequestContext, prepared: PreparedRequest, admission: Admission): Headers {
  const headers = new Headers({
    'x-request-id': context.requestId,
    'request-id': context.requestId,
    'x-tramontane-effort': prepared.effort.effective,
    'x-tramontane-model': prepared.model.id,
    'cache-control': 'no-store',
  })
  if (prepared.alias) headers.set('x-tramontane-model-asked', prepared.alias.id)
  if (prepared.alias?.deprecatedOn) headers.set('deprecation', deprecatedSince(prepared.alias.deprecatedOn))
  if (prepared.effort.asked) headers.set('x-tramontane-effort-asked', prepared.effort.asked)
  addWarnings(headers, prepared.warnings)
  for (const [name, value] of rateHeaders(admission.ratesLeft)) headers.set(name, value)
  for (const [name, value] of context.dialect.rateHeaders(admission.ratesLeft, context.startedAt))
    headers.set(name, value)
  return headers
}

/** Adds to the existing warnings. The header is cleaned and bounded for any text. */
export function addWarnings(headers: Headers, warnings: readonly string[]): void {
  if (warnings.length === 0) return
  const known = headers.get(warningsHeader)
  headers.set(warningsHeader, warningsHeaderValue([...(known ? known.split('; ') : []), ...warnings]))
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
