/** OpenAI's Responses. */

import type { Dialect } from '../dialect.ts'
import { openaiErrors } from '../openai-chat/errors.ts'
import { readResponses, referenceOf } from './read.ts'

export const responses: Dialect = {
  name: 'responses',
  schemaPlaces: { tools: { tools: ['parameters'] }, formats: [['text', 'format', 'schema']] },
  effortField: 'reasoning.effort',
  fieldNames: [
    ['response_format.json_schema.schema', 'text.format.schema'],
    ['response_format', 'text.format'],
    ['reasoning_effort', 'reasoning.effort'],
    ['tools[n].function', 'tools[n]'],
    ['messages', 'input'],
    ['max_completion_tokens', 'max_output_tokens'],
  ],
  refers: referenceOf,
  read: readResponses,
  errors: openaiErrors,
  rateHeaders: () => [],
}
