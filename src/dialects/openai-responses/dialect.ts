/** OpenAI's Responses. */

import type { Dialect } from '../dialect.ts'
import { openaiErrors } from '../openai-chat/errors.ts'
import { readResponses, referenceOf } from './read.ts'

export const responses: Dialect = {
  name: 'responses',
  effortField: 'reasoning.effort',
  refers: referenceOf,
  read: readResponses,
  errors: openaiErrors,
  rateHeaders: () => [],
}
