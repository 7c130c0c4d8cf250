/** OpenAI's Responses. */
import { openaiErrors } from '../openai-errors.ts'
import type { Surface } from '../surface.ts'
import { readResponses, referenceOf } from './read.ts'

export const responses: Surface = {
  name: 'responses',
  effortField: 'reasoning.effort',
  refers: referenceOf,
  read: readResponses,
  errors: openaiErrors,
  rateHeaders: () => [],
}
