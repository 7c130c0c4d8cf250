/** An error that a client sees: one code of the table in `backends/model/errors.ts`, and advice in its message. */
import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import type { ErrorCode } from '../../backends/model/errors.ts'

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
