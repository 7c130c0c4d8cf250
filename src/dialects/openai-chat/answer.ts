/** Schemas of a chat completion and of its chunks. */
import { z } from 'zod'
import { Count, Refusal, usageExtensions } from '../../http/response-schemas.ts'

export const Usage = z
  .strictObject({
    prompt_tokens: Count.describe('Tokens of the prompt, cached ones included.'),
    completion_tokens: Count.describe('Tokens of the answer, reasoning included.'),
    total_tokens: Count.describe('The sum of both.'),
    prompt_tokens_details: z
      .strictObject({ cached_tokens: Count.describe('Tokens that the engine had computed before.') })
      .describe('Parts of `prompt_tokens`.'),
    completion_tokens_details: z
      .strictObject({ reasoning_tokens: Count.describe('Tokens of the reasoning.') })
      .describe('Parts of `completion_tokens`.'),
    ...usageExtensions,
  })
  .meta({ id: 'CompletionUsage' })

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
  })
  .meta({ id: 'ToolCall' })

const FunctionCall = z
  .strictObject({
    name: z.string().describe('The name of the function.'),
    arguments: z.string().describe('The arguments as JSON text.'),
  })
  .meta({ id: 'ChatFunctionCall' })

const ToolCallDelta = z.strictObject({
  index: Count.describe('The place of the call in the answer.'),
  ...ToolCall.shape,
})

const FinishReason = z.enum(['stop', 'length', 'tool_calls', 'function_call'])
const finishText =
  'Why the answer ended: `stop` at its own end or a stop string, `length` at the limit of tokens, `tool_calls` after calls, `function_call` after a call of one of `functions`.'
const StopReason = z.string().optional().describe('The stop string that ended the answer, if one did.')

const head = {
  id: z.string().describe('The id of the answer.'),
  created: z.int().describe('When the request arrived, in Unix seconds.'),
  model: z.string().describe('The model that answers.'),
}

export const ChatCompletion = z
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
              content: z.string().nullable().describe('The text of the answer, null if there are only tool calls.'),
              refusal: z.null().describe('Always null.'),
              reasoning_content: z.string().optional().describe('The reasoning before the answer, if there was any.'),
              tool_calls: z
                .array(ToolCall)
                .optional()
                .describe('The calls of tools, each complete, except the last with the finish reason `length`.'),
              function_call: FunctionCall.optional().describe('The call of one of `functions`.'),
            })
            .describe('The answer.'),
          logprobs: z.null().describe('Always null: log probabilities are not supported.'),
          finish_reason: FinishReason.describe(finishText),
          stop_reason: StopReason,
        }),
      )
      .length(1)
      .describe('One answer.'),
    usage: Usage.describe('The tokens of the request.'),
  })
  .meta({ id: 'ChatCompletion' })

export const ChatCompletionChunk = z
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
              content: z.string().optional().describe('The next piece of the text.'),
              reasoning_content: z.string().optional().describe('The next piece of the reasoning.'),
              tool_calls: z
                .array(ToolCallDelta)
                .optional()
                .describe('The next calls of tools, each complete, except the last with the finish reason `length`.'),
              function_call: FunctionCall.optional().describe('The complete call of one of `functions`.'),
            })
            .describe('The next piece of the answer.'),
          finish_reason: FinishReason.nullable().describe(`Null until the last piece. ${finishText}`),
          stop_reason: StopReason,
        }),
      )
      .max(1)
      .describe('One piece of the answer; empty in the chunk of `stream_options.include_usage`.'),
    usage: Usage.optional().describe(
      'In the chunk with the finish reason, or in a chunk of its own with `stream_options.include_usage`.',
    ),
  })
  .meta({ id: 'ChatCompletionChunk' })

/** The data of one event, except the last, `[DONE]`. */
export const ChatCompletionEvent = z.union([ChatCompletionChunk, Refusal]).meta({ id: 'ChatCompletionEvent' })
