/** Schemas of a chat completion and of its chunks in Mistral's dialect. */
import { z } from 'zod'
import { Count, Refusal, usageExtensions } from '../../http/response-schemas.ts'

const Usage = z
  .strictObject({
    prompt_tokens: Count.describe('Tokens of the prompt, cached ones included.'),
    completion_tokens: Count.describe('Tokens of the answer, reasoning included.'),
    total_tokens: Count.describe('The sum of both.'),
    num_cached_tokens: Count.describe('Tokens of the prompt that the engine had computed before.'),
    prompt_tokens_details: z
      .strictObject({ cached_tokens: Count.describe('The same as `num_cached_tokens`.') })
      .describe('Parts of `prompt_tokens`.'),
    completion_tokens_details: z
      .strictObject({ reasoning_tokens: Count.describe('Tokens of the reasoning.') })
      .describe('Parts of `completion_tokens`.'),
    ...usageExtensions,
  })
  .meta({ id: 'MistralUsage' })

const ToolCall = z
  .strictObject({
    id: z.string().describe('The id to send back as `tool_call_id` with the result.'),
    type: z.literal('function').describe('Always `function`.'),
    function: z
      .strictObject({
        name: z.string().describe('The name of the function.'),
        arguments: z.string().describe('The arguments as JSON text.'),
      })
      .describe('The function and its arguments.'),
    index: Count.describe('The place of the call in the answer.'),
  })
  .meta({ id: 'MistralToolCall' })

const TextChunk = z
  .strictObject({
    type: z.literal('text').describe('Always `text`.'),
    text: z.string().describe('The text.'),
  })
  .meta({ id: 'MistralTextChunk' })

const ThinkChunk = z
  .strictObject({
    type: z.literal('thinking').describe('Always `thinking`.'),
    thinking: z.array(TextChunk).describe('The reasoning as one text.'),
    closed: z.literal(true).optional().describe('Present if the reasoning is complete.'),
  })
  .meta({ id: 'MistralThinkChunk' })

const Content = z.union([z.string(), z.array(z.discriminatedUnion('type', [TextChunk, ThinkChunk]))])
const FinishReason = z.enum(['stop', 'length', 'tool_calls'])
const finishText =
  'Why the answer ended: `stop` at its own end or a stop string, `length` at the limit of tokens, `tool_calls` after calls.'

const head = {
  id: z.string().describe('The id of the answer.'),
  created: z.int().describe('When the answer began, in Unix seconds.'),
  model: z.string().describe('The model that answers.'),
}

export const MistralChatCompletion = z
  .strictObject({
    ...head,
    object: z.literal('chat.completion').describe('Always `chat.completion`.'),
    choices: z
      .array(
        z.strictObject({
          index: z.literal(0).describe('Always 0: a request has one answer.'),
          message: z
            .strictObject({
              role: z.literal('assistant').describe('Always `assistant`.'),
              content: Content.describe('The text, or with reasoning a chunk of it and then a chunk of the text.'),
              tool_calls: z
                .array(ToolCall)
                .optional()
                .describe('The calls of tools, each complete, except the last with the finish reason `length`.'),
              prefix: z.literal(false).describe('Always false.'),
            })
            .describe('The answer.'),
          finish_reason: FinishReason.describe(finishText),
        }),
      )
      .length(1)
      .describe('One answer.'),
    usage: Usage.describe('The tokens of the request.'),
  })
  .meta({ id: 'MistralChatCompletion' })

const Chunk = z
  .strictObject({
    ...head,
    object: z.literal('chat.completion.chunk').describe('Always `chat.completion.chunk`.'),
    choices: z
      .array(
        z.strictObject({
          index: z.literal(0).describe('Always 0: a request has one answer.'),
          delta: z
            .strictObject({
              role: z.literal('assistant').optional().describe('In the first chunk.'),
              content: Content.describe('The next piece of the text, or a chunk with the next piece of the reasoning.'),
              tool_calls: z
                .array(ToolCall)
                .optional()
                .describe('The next calls of tools, each complete, except the last with the finish reason `length`.'),
            })
            .describe('The next piece of the answer.'),
          finish_reason: FinishReason.nullable().describe(`Null until the last chunk. ${finishText}`),
        }),
      )
      .length(1)
      .describe('One piece of the answer.'),
    usage: Usage.optional().describe('In the last chunk.'),
  })
  .meta({ id: 'MistralChatCompletionChunk' })

/** The data of one event, except the last, `[DONE]`. */
export const MistralChatCompletionEvent = z.union([Chunk, Refusal]).meta({ id: 'MistralChatCompletionEvent' })
