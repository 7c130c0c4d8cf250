/** Schemas of a completion and of its pieces. */
import { z } from 'zod'
import { Refusal } from '../../http/response-schemas.ts'
import { Usage } from '../openai-chat/answer.ts'

const head = {
  id: z.string().describe('The id of the answer.'),
  object: z.literal('text_completion').describe('Always `text_completion`.'),
  created: z.int().describe('When the request arrived, in Unix seconds.'),
  model: z.string().describe('The model that answers.'),
}
const choice = {
  index: z.literal(0).describe('Always 0: a request has one answer.'),
  text: z.string().describe('The text, or its next piece.'),
  logprobs: z.null().describe('Always null: log probabilities are not supported.'),
  reasoning_content: z.string().optional().describe('The reasoning before the answer, if the request asked for some.'),
}
const finishText = 'Why the answer ended: `stop` at its own end or a stop string, `length` at the limit of tokens.'
const FinishReason = z.enum(['stop', 'length'])

export const Completion = z
  .strictObject({
    ...head,
    choices: z
      .array(z.strictObject({ ...choice, finish_reason: FinishReason.describe(finishText) }))
      .length(1)
      .describe('One answer.'),
    usage: Usage.describe('The tokens of the request.'),
  })
  .meta({ id: 'Completion' })

const CompletionChunk = z
  .strictObject({
    ...head,
    choices: z
      .array(z.strictObject({ ...choice, finish_reason: FinishReason.nullable().describe(finishText) }))
      .max(1)
      .describe('One piece of the answer; empty in the chunk of `stream_options.include_usage`.'),
    usage: Usage.optional().describe('In the last piece, or in a chunk of its own.'),
  })
  .meta({ id: 'CompletionChunk' })

/** The data of one event, except the last, `[DONE]`. */
export const CompletionEvent = z.union([CompletionChunk, Refusal]).meta({ id: 'CompletionEvent' })
