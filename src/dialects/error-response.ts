/** An error as a response in the form of a dialect. */
import { errorTable } from '../../backends/model/errors.ts'
import { GatewayError, logError } from '../http/errors.ts'
import type { DialectFailure, ErrorShape } from './dialect.ts'
import { openaiErrors } from './openai-chat/errors.ts'

/** Clients ignore a `retry-after` of a minute or more, and some do not retry a 429 without one. */
const retryAfterMaxS = 60

export function errorResponse(error: unknown, requestId: string, shape: ErrorShape = openaiErrors): Response {
  const failure = asGatewayError(error, requestId)
  const row = { ...errorTable[failure.code], status: shape.status?.[failure.code] ?? errorTable[failure.code].status }
  const headers = new Headers({
    'content-type': 'application/json',
    'x-request-id': requestId,
    'request-id': requestId,
  })
  for (const [name, value] of failure.headers) headers.set(name, value)
  if (!row.retry || (failure.code === 'rate_limit_exceeded' && failure.retryAfterMs === null))
    headers.set('x-should-retry', 'false')
  else if (failure.retryAfterMs !== null || failure.code === 'server_is_overloaded') {
    const seconds = Math.ceil((failure.retryAfterMs ?? 1_000) / 1_000)
    headers.set('retry-after', String(Math.min(retryAfterMaxS, Math.max(1, seconds))))
  }
  return new Response(JSON.stringify(shape.body(failureOf(failure, requestId))), { status: row.status, headers })
}

/** The error as a client sees it. An unexpected error is logged and becomes `internal_error`. */
export function failureOf(error: unknown, requestId: string): DialectFailure {
  const { code, message, param } = asGatewayError(error, requestId)
  return { code, message, param, requestId }
}

function asGatewayError(error: unknown, requestId: string): GatewayError {
  if (error instanceof GatewayError) return error
  logError(`request ${requestId} failed`, error)
  return new GatewayError('internal_error', `Internal error. Report request id ${requestId} to the operator.`, {
    cause: error,
  })
}
