/** Schemas of the gateway's answers. The reference is generated from them, and tests check real answers with them. */
import { z } from 'zod'
import { EffortWord } from '../../backends/model/effort.ts'
import { type ErrorCode, errorTable } from '../../backends/model/errors.ts'

const Count = z.int().min(0)

const Usage = z.strictObject({
  prompt_tokens: Count,
  completion_tokens: Count.describe('includes reasoning tokens'),
  total_tokens: Count,
  prompt_tokens_details: z.strictObject({ cached_tokens: Count }),
  completion_tokens_details: z.strictObject({ reasoning_tokens: Count }),
  reasoning_effort: EffortWord.describe('the served effort'),
  reasoning_effort_asked: EffortWord.nullable().describe('the requested effort'),
})

const ToolCall = z.strictObject({
  id: z.string(),
  type: z.literal('function'),
  function: z.strictObject({ name: z.string(), arguments: z.string().describe('valid JSON') }),
})
const FinishReason = z.enum(['stop', 'length', 'tool_calls'])

export const ChatCompletion = z
  .strictObject({
    id: z.string(),
    object: z.literal('chat.completion'),
    created: z.int(),
    model: z.string(),
    choices: z
      .array(
        z.object({
          index: z.literal(0),
          message: z.strictObject({
            role: z.literal('assistant'),
            content: z.string().nullable(),
            refusal: z.null(),
            reasoning_content: z.string().optional(),
            tool_calls: z.array(ToolCall).optional(),
          }),
          logprobs: z.null(),
          finish_reason: FinishReason,
          stop_reason: z.string().optional().describe('the stop string that ended the answer, if one did'),
        }),
      )
      .length(1),
    usage: Usage,
  })
  .meta({ id: 'ChatCompletion' })

export const ChatCompletionChunk = z
  .strictObject({
    id: z.string(),
    object: z.literal('chat.completion.chunk'),
    created: z.int(),
    model: z.string(),
    choices: z
      .array(
        z.object({
          index: z.literal(0),
          delta: z.strictObject({
            role: z.literal('assistant').optional(),
            content: z.string().optional(),
            reasoning_content: z.string().optional(),
            tool_calls: z.array(ToolCall.extend({ index: Count })).optional(),
          }),
          finish_reason: FinishReason.nullable(),
        }),
      )
      .max(1),
    usage: Usage.optional().describe(
      'on the chunk with the finish reason, or on a separate chunk with `stream_options.include_usage`',
    ),
  })
  .meta({ id: 'ChatCompletionChunk' })

/** Selected fields; see Anthropic’s reference. */
export const Message = z
  .looseObject({
    id: z.string(),
    type: z.literal('message'),
    role: z.literal('assistant'),
    model: z.string(),
    content: z.array(z.object({ type: z.enum(['text', 'thinking', 'redacted_thinking', 'tool_use']) })),
    stop_reason: z.string().nullable(),
    stop_sequence: z.string().nullable(),
    usage: z.object({ input_tokens: Count, output_tokens: Count }),
  })
  .meta({ id: 'Message' })

export const TokenCount = z
  .object({
    object: z.literal('response.input_tokens').optional(),
    input_tokens: Count,
    estimated: z.literal(true).optional().describe('present if the count is an upper bound'),
  })
  .meta({ id: 'TokenCount' })

/** Selected fields; see OpenAI’s reference. */
export const ResponseAnswer = z
  .looseObject({
    id: z.string(),
    object: z.literal('response'),
    created_at: z.int(),
    status: z.enum(['in_progress', 'completed', 'incomplete', 'failed']),
    model: z.string(),
    output: z.array(
      z.looseObject({ type: z.enum(['message', 'reasoning', 'function_call', 'custom_tool_call']), id: z.string() }),
    ),
    store: z.boolean().describe('whether the response is stored and can be referred to'),
    usage: z.object({ input_tokens: Count, output_tokens: Count, total_tokens: Count }).nullable(),
  })
  .meta({ id: 'Response' })

export const ModelCard = z
  .object({
    id: z.string(),
    object: z.literal('model'),
    created: z.int(),
    owned_by: z.string(),
    type: z.literal('base').describe('Mistral’s clients need it.'),
    capabilities: z.record(z.string(), z.boolean()),
    description: z.string(),
    max_context_length: Count,
    reasoning_efforts: z.array(EffortWord),
    aliases: z.array(z.string()),
    toy: z.boolean(),
    root: z.string().optional().describe('for an alias: the model that serves it'),
    deprecation: z.string().optional(),
    deprecation_replacement_model: z.string().optional(),
  })
  .meta({ id: 'Model' })

export const ModelList = z.object({ object: z.literal('list'), data: z.array(ModelCard) }).meta({ id: 'ModelList' })

const codes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]
const ErrorFields = {
  message: z.string(),
  type: z.string(),
  param: z.string().nullable().describe('the path of the invalid field'),
  code: z.enum(codes),
}

export const Refusal = z
  .strictObject({
    object: z.literal('error'),
    ...ErrorFields,
    request_id: z.string(),
    error: z.strictObject(ErrorFields),
  })
  .meta({ id: 'Refusal' })

export const AnthropicRefusal = z
  .strictObject({
    type: z.literal('error'),
    error: z.strictObject({
      type: z.string(),
      message: z.string(),
      code: z.enum(codes).describe('An extension: more specific than the type.'),
    }),
    request_id: z.string(),
  })
  .meta({ id: 'AnthropicRefusal' })

export const Health = z.strictObject({ status: z.enum(['ok', 'no worker is up']) }).meta({ id: 'Health' })

const UsageSums = z.strictObject({
  requests: Count,
  prompt_tokens: Count.describe('Includes cached tokens.'),
  cached_tokens: Count,
  output_tokens: Count.describe('Includes reasoning tokens.'),
  reasoning_tokens: Count,
  wasted_tokens: Count.describe('Output tokens of incomplete answers, aborted or failed. Part of `output_tokens`.'),
  cost_nano: z.int().describe('Cost in nano-dollars.'),
  estimated_requests: Count.describe('Requests with estimated counts.'),
})
const IsoTime = z.string().describe('A time in ISO 8601, UTC.')

export const UsageReport = z
  .strictObject({
    object: z.literal('usage'),
    from: IsoTime,
    to: IsoTime.describe('The end of the report, exclusive.'),
    bucket: z.enum(['day', 'hour', 'all']),
    group_by: z.array(z.enum(['key', 'model', 'effort', 'pool', 'outcome'])),
    data: z.array(
      UsageSums.extend({
        start: IsoTime,
        end: IsoTime,
        key: z.string().optional(),
        model: z.string().optional(),
        effort: z.string().optional(),
        pool: z.string().optional(),
        outcome: z.string().optional(),
      }),
    ),
    totals: UsageSums,
  })
  .meta({ id: 'UsageReport' })

export const usageFiles = [
  { status: 200, type: 'text/csv', answer: 'text' },
  { status: 200, type: 'application/jsonl', answer: 'text' },
] as const
