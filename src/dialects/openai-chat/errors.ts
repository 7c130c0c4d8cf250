/** Refusals for OpenAI's and Mistral's clients: both shapes in one body. */
import { errorBody } from '../../../backends/model/errors.ts'
import type { DialectFailure, ErrorShape } from '../dialect.ts'

const body = ({ code, message, param, requestId }: DialectFailure) => errorBody(code, message, param, requestId)

export const openaiErrors: ErrorShape = {
  body,
  event: (failure) => `data: ${JSON.stringify(body(failure))}\n\n`,
}
