/** What every answer discloses in its headers: ids, effort asked and served, limits, warnings. */
import type { Line } from '../line.ts'
import type { Shaped } from '../shaping/shape.ts'
import type { Admission } from '../tenant/calls.ts'

export function answerHeaders(line: Line, shaped: Shaped, admission: Admission): Headers {
  const headers = new Headers({
    'x-request-id': line.requestId,
    'request-id': line.requestId,
    'x-tramontane-effort': shaped.effort.effective,
    'cache-control': 'no-store',
  })
  if (shaped.effort.asked) headers.set('x-tramontane-effort-asked', shaped.effort.asked)
  if (shaped.warnings.length > 0) headers.set('x-tramontane-warnings', shaped.warnings.join('; '))
  if (admission.requestsLeft !== null) {
    headers.set('x-ratelimit-limit-requests', String(admission.requestsPerMinute))
    headers.set('x-ratelimit-remaining-requests', String(admission.requestsLeft))
  }
  return headers
}
