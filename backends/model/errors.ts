/**
 * The table of all error codes. A code decides the HTTP status, the error type that SDKs switch on, and whether a retry
 * can help. Measured with real clients: one agent sends thirty requests after a bare 503, but five with
 * `server_is_overloaded`. No client retries a 429 without `retry-after`. `insufficient_quota` with
 * `x-should-retry: false` stops every client after one request.
 */
interface CodeRow {
  status: number
  type: ErrorType
  /** Whether the same request may succeed later. `false` becomes `x-should-retry: false`. */
  retry: boolean
}

type ErrorType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'permission_error'
  | 'rate_limit_error'
  | 'insufficient_quota'
  | 'server_error'

export type ErrorCode =
  | 'invalid_api_key'
  | 'permission_denied'
  | 'invalid_json'
  | 'invalid_value'
  | 'context_length_exceeded'
  | 'model_not_found'
  | 'unknown_url'
  | 'method_not_allowed'
  | 'not_found'
  | 'not_configured'
  | 'conflict'
  | 'previous_response_not_found'
  | 'idempotency_mismatch'
  | 'idempotency_in_progress'
  | 'request_too_large'
  | 'request_timeout'
  | 'rate_limit_exceeded'
  | 'insufficient_quota'
  | 'server_is_overloaded'
  | 'worker_lost'
  | 'preparation_failed'
  | 'internal_error'

export const errorTable = {
  invalid_api_key: { status: 401, type: 'authentication_error', retry: false },
  permission_denied: { status: 403, type: 'permission_error', retry: false },
  invalid_json: { status: 400, type: 'invalid_request_error', retry: false },
  invalid_value: { status: 400, type: 'invalid_request_error', retry: false },
  context_length_exceeded: { status: 400, type: 'invalid_request_error', retry: false },
  model_not_found: { status: 404, type: 'invalid_request_error', retry: false },
  unknown_url: { status: 404, type: 'invalid_request_error', retry: false },
  method_not_allowed: { status: 405, type: 'invalid_request_error', retry: false },
  conflict: { status: 409, type: 'invalid_request_error', retry: false },
  previous_response_not_found: { status: 400, type: 'invalid_request_error', retry: false },
  idempotency_mismatch: { status: 422, type: 'invalid_request_error', retry: false },
  idempotency_in_progress: { status: 409, type: 'invalid_request_error', retry: true },
  not_found: { status: 404, type: 'invalid_request_error', retry: false },
  not_configured: { status: 404, type: 'invalid_request_error', retry: false },
  request_too_large: { status: 413, type: 'invalid_request_error', retry: false },
  request_timeout: { status: 408, type: 'invalid_request_error', retry: true },
  rate_limit_exceeded: { status: 429, type: 'rate_limit_error', retry: true },
  insufficient_quota: { status: 429, type: 'insufficient_quota', retry: false },
  server_is_overloaded: { status: 503, type: 'server_error', retry: true },
  worker_lost: { status: 502, type: 'server_error', retry: true },
  // The request may have crashed its worker. A client that retries would crash the next worker.
  preparation_failed: { status: 500, type: 'server_error', retry: false },
  internal_error: { status: 500, type: 'server_error', retry: true },
} as const satisfies Record<ErrorCode, CodeRow>

export interface ErrorBody {
  object: 'error'
  message: string
  type: ErrorType
  param: string | null
  code: ErrorCode
  request_id: string
  error: { message: string; type: ErrorType; param: string | null; code: ErrorCode }
}

/** An error in both shapes: OpenAI's clients read the nested one, Mistral's clients the flat one. */
export function errorBody(code: ErrorCode, message: string, param: string | null, requestId: string): ErrorBody {
  const error = { message, type: errorTable[code].type, param, code }
  return { object: 'error', ...error, request_id: requestId, error }
}
