/**
 * Schemas of the answers that belong to no dialect; those of a dialect are in its `answer.ts`. The documents are
 * generated from them, and tests check real answers with them.
 */
import { z } from 'zod'
import { EffortWord, effortWords } from '../../backends/model/effort.ts'
import { type ErrorCode, errorTable } from '../../backends/model/errors.ts'

export const Count = z.int().min(0)
/** An amount in dollars, exactly. */
export const Decimal = z.string().regex(/^-?\d+(\.\d+)?$/)

/** The fields of every dialect's `usage` that are not in the dialect of its vendor. */
export const usageExtensions = {
  reasoning_effort: EffortWord.describe('The effort that served the request.'),
  reasoning_effort_asked: EffortWord.nullable().describe(
    'The effort that the request asked for, null if it asked for none.',
  ),
  cost: z.number().optional().describe('The cost of the request in dollars.'),
  cost_nano: Count.optional().describe('The cost in nano-dollars, exactly. It is the amount of the ledger entry.'),
}

const ModelCapabilities = z.strictObject({
  completion_chat: z.boolean().describe('The model answers chats.'),
  function_calling: z.boolean().describe('The model calls tools.'),
  vision: z.boolean().describe('The model reads images and documents.'),
  reasoning: z.boolean().describe('The model reasons before it answers.'),
})

export const ModelCard = z
  .strictObject({
    id: z.string().describe('The name to send as `model`.'),
    object: z.literal('model').describe('Always `model`.'),
    created: z.int().describe('When the model was published, in Unix seconds.'),
    owned_by: z.string().describe('Always `tramontane`.'),
    type: z.literal('base').describe('Always `base`: no model is fine-tuned.'),
    capabilities: ModelCapabilities.describe('The features that the model has.'),
    description: z.string().describe('One sentence about the model.'),
    max_context_length: Count.describe('The longest prompt and answer together, in tokens.'),
    reasoning_efforts: z.array(EffortWord).describe('The efforts that the model has, least reasoning first.'),
    aliases: z.array(z.string()).describe('Older names of the model, which are also accepted.'),
    toy: z.boolean().describe('Whether the model only demonstrates the system.'),
    pricing: z
      .strictObject({
        prompt: Decimal.describe('For one token of the prompt.'),
        completion: Decimal.describe('For one token of the answer, reasoning included.'),
        input_cache_read: Decimal.describe('For one token of the prompt that the engine had computed before.'),
        request: Decimal.describe('For the request itself: nothing.'),
      })
      .nullable()
      .describe('Your prices in dollars; null if your tenant has no price for the model, and so cannot use it.'),
    root: z.string().optional().describe('Of an alias: the model that serves it.'),
    deprecation: z.string().optional().describe('Of a deprecated alias: since when, in ISO 8601.'),
    deprecation_replacement_model: z.string().optional().describe('Of a deprecated alias: the model to use instead.'),
    reasoning_effort_default: EffortWord.optional().describe('Of an alias: the effort of a request that sends none.'),
  })
  .meta({ id: 'Model' })

export const ModelList = z
  .strictObject({
    object: z.literal('list').describe('Always `list`.'),
    data: z.array(ModelCard).describe('The models that the key may use. There is one page.'),
  })
  .meta({ id: 'ModelList' })

const Supported = z.strictObject({ supported: z.boolean().describe('Whether the model has this feature.') })

export const AnthropicModel = z
  .strictObject({
    type: z.literal('model').describe('Always `model`.'),
    id: z.string().describe('The name to send as `model`.'),
    display_name: z.string().describe('The name of the model that serves the id.'),
    created_at: z.string().describe('When the model was published, in ISO 8601.'),
    lifecycle: z.enum(['active', 'deprecated']).describe('`deprecated` for a name that another one replaces.'),
    deprecated_at: z.string().nullable().describe('Since when the name is deprecated, in ISO 8601.'),
    retires_at: z.null().describe('Always null: no name has an announced end.'),
    line: z.null().describe('Always null.'),
    max_input_tokens: Count.describe('The longest prompt, in tokens.'),
    max_tokens: Count.describe('The longest prompt and answer together, in tokens.'),
    capabilities: z
      .strictObject({
        batch: Supported.describe('Batches of requests.'),
        citations: Supported.describe('Citations in an answer.'),
        code_execution: Supported.describe('Code that the server runs.'),
        context_management: Supported.describe('Edits of the context by the server.'),
        effort: z
          .strictObject({
            supported: z.boolean().describe('Whether the model has efforts.'),
            ...Object.fromEntries(
              effortWords.map((word) => [
                word,
                Supported.optional().describe(`Present if \`${word}\` is an effort of the model.`),
              ]),
            ),
          })
          .describe('Every effort is accepted; the efforts of the model itself are listed.'),
        image_input: Supported.describe('Images in a prompt.'),
        pdf_input: Supported.describe('PDF documents in a prompt.'),
        server_tools: Supported.describe('Tools that the server runs.'),
        structured_outputs: Supported.describe('Answers that match a JSON schema.'),
        thinking: z
          .strictObject({
            supported: z.boolean().describe('Whether the model thinks before it answers.'),
            types: z
              .strictObject({
                adaptive: Supported.describe('Thinking of the type `adaptive`.'),
                enabled: Supported.describe('Thinking of the type `enabled`.'),
              })
              .describe('The types of thinking that a request may ask for.'),
          })
          .describe('Thinking before an answer.'),
      })
      .describe('The features that the model has.'),
  })
  .meta({ id: 'AnthropicModel' })

export const AnthropicModelList = z
  .strictObject({
    data: z.array(AnthropicModel).describe('The models that the key may use.'),
    has_more: z.literal(false).describe('Always false: there is one page.'),
    first_id: z.string().nullable().describe('The id of the first model, null in an empty list.'),
    last_id: z.string().nullable().describe('The id of the last model, null in an empty list.'),
  })
  .meta({ id: 'AnthropicModelList' })

const codes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]
const ErrorFields = {
  message: z.string().describe('The problem and what to do about it, for people.'),
  type: z.string().describe('The group of the error, as OpenAI names it.'),
  param: z.string().nullable().describe('The path of the invalid field, null if no field is invalid.'),
  code: z.enum(codes).describe('The problem, for programs.'),
}

export const Refusal = z
  .strictObject({
    object: z.literal('error').describe('Always `error`.'),
    ...ErrorFields,
    request_id: z.string().describe('The id to report to the operator.'),
    error: z.strictObject(ErrorFields).describe('The same fields, where OpenAI’s clients read them.'),
  })
  .meta({ id: 'Refusal' })

export const AnthropicRefusal = z
  .strictObject({
    type: z.literal('error').describe('Always `error`.'),
    error: z
      .strictObject({
        type: z.string().describe('The group of the error, as Anthropic names it.'),
        message: z.string().describe('The problem and what to do about it, for people.'),
        code: z.enum(codes).describe('An extension: more specific than the type.'),
      })
      .describe('The problem.'),
    request_id: z.string().describe('The id to report to the operator.'),
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
    time_zone: z.string().describe('The time zone of days, weeks and months.'),
    bucket: z.enum(['day', 'hour', 'week', 'month', 'all']),
    group_by: z.array(z.enum(['key', 'model', 'effort', 'pool', 'outcome', 'user', 'tag'])),
    data: z.array(
      UsageSums.extend({
        start: IsoTime,
        end: IsoTime,
        key: z.string().optional(),
        model: z.string().optional(),
        effort: z.string().optional(),
        pool: z.string().optional(),
        outcome: z.string().optional(),
        user: z.string().optional().describe('An end user, or `other`. Requests without one have no row.'),
        tag: z.string().optional().describe('A tag, or `other`. A request counts once for each of its tags.'),
      }),
    ),
    totals: UsageSums,
  })
  .meta({ id: 'UsageReport' })

export const usageFiles = [
  { status: 200, type: 'text/csv', answer: 'text' },
  { status: 200, type: 'application/jsonl', answer: 'text' },
] as const
