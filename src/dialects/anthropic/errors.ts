/** Refusals for Anthropic's clients, which decide by a type from Anthropic's list. */
import type { ErrorCode } from '../../../backends/model/errors.ts'
import type { DialectFailure, ErrorShape } from '../dialect.ts'

/** Anthropic's statuses where they differ: clients do not retry a 402, and read 529 as an overload. */
const status = { insufficient_quota: 402, server_is_overloaded: 529 } satisfies Partial<Record<ErrorCode, number>>

const types = {
  invalid_api_key: 'authentication_error',
  permission_denied: 'permission_error',
  invalid_json: 'invalid_request_error',
  invalid_value: 'invalid_request_error',
  context_length_exceeded: 'invalid_request_error',
  model_not_found: 'not_found_error',
  method_not_allowed: 'invalid_request_error',
  unknown_url: 'not_found_error',
  not_found: 'not_found_error',
  not_configured: 'not_found_error',
  conflict: 'invalid_request_error',
  previous_response_not_found: 'not_found_error',
  idempotency_mismatch: 'invalid_request_error',
  idempotency_in_progress: 'invalid_request_error',
  request_too_large: 'request_too_large',
  request_timeout: 'invalid_request_error',
  rate_limit_exceeded: 'rate_limit_error',
  insufficient_quota: 'billing_error',
  server_is_overloaded: 'overloaded_error',
  worker_lost: 'api_error',
  preparation_failed: 'api_error',
  internal_error: 'api_error',
} satisfies Record<ErrorCode, string>

const body = ({ code, message, requestId }: DialectFailure) => ({
  type: 'error',
  // The code is an extension: it is more specific than the type.
  error: { type: types[code], message, code },
  request_id: requestId,
})

export const messagesErrors: ErrorShape = {
  status,
  body,
  event: (failure) => `event: error\ndata: ${JSON.stringify(body(failure))}\n\n`,
}
