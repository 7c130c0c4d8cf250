/** An error that a client sees: one code of the table in `backends/model/errors.ts`, and advice in its message. */
import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import { type ErrorCode, errorTable } from '../../backends/model/errors.ts'
import type { DialectFailure, ErrorShape } from '../dialects/dialect.ts'
import { openaiErrors } from '../dialects/openai-chat/errors.ts'

export class GatewayError extends Error {
  override name = 'GatewayError'
  readonly code: ErrorCode
  readonly param: string | null
  /** The wait before a retry may help, in milliseconds. */
  readonly retryAfterMs: number | null
  readonly headers: [string, string][]

  constructor(
    code: ErrorCode,
    message: string,
    options: {
      param?: string | null
      retryAfterMs?: number | null
      headers?: [string, string][]
      cause?: unknown
    } = {},
  ) {
    super(bounded(message, budgets.errorMessageCharacters.value), { cause: options.cause })
    this.code = code
    this.param = options.param == null ? null : bounded(options.param, budgets.errorParamCharacters.value)
    this.retryAfterMs = options.retryAfterMs ?? null
    this.headers = options.headers ?? []
  }
}

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

/** Logs an error. Its text may come from a client or a worker, so the log line is cleaned and bounded. */
export function logError(what: string, error: unknown): void {
  console.error(cleanText(`${what}: ${describe(error)}`, budgets.logCharacters.value))
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : ` (cause: ${describe(error.cause)})`
  return `${error.stack ?? error.message}${cause}`
}

/** A client's text may be megabytes long, and may contain control characters or a lone surrogate. */
function bounded(text: string, charactersMax: number): string {
  const cut = text.length > charactersMax ? `${text.slice(0, charactersMax - 3)}...` : text
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the expression replaces them.
  return cut.toWellFormed().replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ')
}
