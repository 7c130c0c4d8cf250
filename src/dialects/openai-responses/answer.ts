/** Schemas of a response, of the events of its stream, and of what a client can read of a stored response. */
import { z } from 'zod'
import { EffortWord } from '../../../backends/model/effort.ts'
import { Count, Refusal, usageExtensions } from '../../http/response-schemas.ts'
import { Summary, ToolChoice, WireFormat } from './body.ts'

const Status = z.enum(['in_progress', 'completed', 'incomplete'])
const itemHead = {
  id: z.string().describe('The id of the item, to which a later request may refer.'),
  status: Status.describe('`incomplete` if the limit of tokens cut the item off.'),
}

const OutputText = z
  .strictObject({
    type: z.literal('output_text').describe('Always `output_text`.'),
    text: z.string().describe('The text.'),
    annotations: z.array(z.never()).describe('Always empty.'),
    logprobs: z.array(z.never()).describe('Always empty.'),
  })
  .meta({ id: 'OutputText' })
const ReasoningText = z
  .strictObject({
    type: z.literal('reasoning_text').describe('Always `reasoning_text`.'),
    text: z.string().describe('The reasoning.'),
  })
  .meta({ id: 'ReasoningText' })
const SummaryText = z
  .strictObject({
    type: z.literal('summary_text').describe('Always `summary_text`.'),
    text: z.string().describe('The reasoning.'),
  })
  .meta({ id: 'SummaryText' })

const MessageItem = z
  .strictObject({
    type: z.literal('message').describe('Always `message`.'),
    ...itemHead,
    role: z.literal('assistant').describe('Always `assistant`.'),
    content: z.array(OutputText).describe('The text of the answer in one part; empty until the item is done.'),
  })
  .meta({ id: 'OutputMessage' })
const ReasoningItem = z
  .strictObject({
    type: z.literal('reasoning').describe('Always `reasoning`.'),
    ...itemHead,
    summary: z.array(SummaryText).describe('The reasoning, if the request asks for a summary.'),
    content: z.array(ReasoningText).optional().describe('The reasoning, if the request asks for no summary.'),
    encrypted_content: z
      .string()
      .optional()
      .describe('The reasoning, encoded, if `include` asks for it. Send it back unchanged.'),
  })
  .meta({ id: 'ReasoningItem' })
const callHead = {
  ...itemHead,
  call_id: z.string().describe('The id to send back as `call_id` with the result.'),
  name: z.string().describe('The name of the tool.'),
}
const CallItem = z
  .strictObject({
    type: z.literal('function_call').describe('Always `function_call`.'),
    ...callHead,
    arguments: z.string().describe('The arguments as JSON text.'),
  })
  .meta({ id: 'FunctionCall' })
const CustomCallItem = z
  .strictObject({
    type: z.literal('custom_tool_call').describe('Always `custom_tool_call`.'),
    ...callHead,
    input: z.string().describe('The input of the tool as free text.'),
  })
  .meta({ id: 'CustomToolCall' })
const OutputItem = z
  .discriminatedUnion('type', [MessageItem, ReasoningItem, CallItem, CustomCallItem])
  .meta({ id: 'OutputItem' })

const Usage = z
  .strictObject({
    input_tokens: Count.describe('Tokens of the prompt, cached ones included.'),
    input_tokens_details: z
      .strictObject({
        cached_tokens: Count.describe('Tokens that the engine had computed before.'),
        cache_write_tokens: Count.describe('Always 0: writing to the cache is free.'),
      })
      .describe('Parts of `input_tokens`.'),
    output_tokens: Count.describe('Tokens of the answer, reasoning included.'),
    output_tokens_details: z
      .strictObject({ reasoning_tokens: Count.describe('Tokens of the reasoning.') })
      .describe('Parts of `output_tokens`.'),
    total_tokens: Count.describe('The sum of both.'),
    ...usageExtensions,
  })
  .meta({ id: 'ResponseUsage' })

const toolHead = {
  name: z.string().describe('The name of the tool.'),
  description: z.string().nullable().describe('The purpose of the tool.'),
}
const ServedTool = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('function').describe('Always `function`.'),
    ...toolHead,
    parameters: z.record(z.string(), z.unknown()).nullable().describe('The JSON schema of the arguments.'),
    strict: z.boolean().describe('As the request has it; true if it has none.'),
  }),
  z.strictObject({
    type: z.literal('custom').describe('Always `custom`.'),
    ...toolHead,
    format: z
      .strictObject({
        type: z.string().describe('The kind of the format.'),
        syntax: z.string().nullish().describe('The notation of the grammar.'),
        definition: z.string().nullish().describe('The grammar.'),
      })
      .describe('The form of the input.'),
  }),
])

export const ResponseAnswer = z
  .strictObject({
    id: z.string().describe('The id of the response, to which a later request may refer.'),
    object: z.literal('response').describe('Always `response`.'),
    created_at: z.int().describe('When the answer began, in Unix seconds.'),
    completed_at: z.int().nullable().describe('When the answer was complete, in Unix seconds; null if it is not.'),
    status: z
      .enum(['in_progress', 'completed', 'incomplete', 'failed'])
      .describe('`incomplete` if the limit of tokens cut the answer off.'),
    background: z.literal(false).describe('Always false.'),
    error: z
      .strictObject({
        code: z.string().describe('The problem, for programs.'),
        message: z.string().describe('The problem and what to do about it, for people.'),
      })
      .nullable()
      .describe('The problem of a failed response, otherwise null.'),
    incomplete_details: z
      .strictObject({ reason: z.literal('max_output_tokens').describe('Always `max_output_tokens`.') })
      .nullable()
      .describe('The reason of an incomplete response, otherwise null.'),
    instructions: z.string().nullable().describe('As in the request.'),
    max_output_tokens: z.int().nullable().describe('As in the request.'),
    max_tool_calls: z.int().nullable().describe('As in the request; without effect.'),
    model: z.string().describe('The model that answers.'),
    output: z.array(OutputItem).describe('Reasoning, text and calls of tools, in their order.'),
    parallel_tool_calls: z.boolean().describe('As in the request; true if it has none.'),
    previous_response_id: z.string().nullable().describe('As in the request.'),
    prompt_cache_key: z.string().nullable().describe('As in the request; without effect.'),
    reasoning: z
      .strictObject({
        effort: EffortWord.describe('The effort that serves the request.'),
        summary: Summary.nullable().describe('As in the request.'),
      })
      .describe('How the model reasons.'),
    safety_identifier: z.string().nullable().describe('As in the request; without effect.'),
    service_tier: z.literal('default').describe('Always `default`.'),
    store: z.boolean().describe('Whether the response is stored, so that a later request may refer to it.'),
    temperature: z.number().describe('The temperature that is used.'),
    text: z
      .strictObject({
        format: WireFormat.describe('The form of the text, as in the request.'),
        verbosity: z.string().describe('As in the request; without effect.'),
      })
      .describe('The form of the answer.'),
    tool_choice: ToolChoice.describe('As in the request; `auto` if it has none.'),
    tools: z.array(ServedTool).describe('The tools of the request that are supported.'),
    top_logprobs: z.literal(0).describe('Always 0.'),
    top_p: z.number().describe('The value that is used.'),
    truncation: z.literal('disabled').describe('Always `disabled`.'),
    presence_penalty: z.number().describe('The value that is used.'),
    frequency_penalty: z.number().describe('The value that is used.'),
    usage: Usage.nullable().describe('The tokens of the request; null before the answer ends.'),
    user: z.string().optional().describe('As in the request; without effect.'),
    metadata: z.record(z.string(), z.string()).describe('As in the request.'),
  })
  .meta({ id: 'Response' })

const place = {
  item_id: z.string().describe('The id of the item.'),
  output_index: Count.describe('The place of the item in `output`.'),
}
const contentPlace = { ...place, content_index: z.literal(0).describe('The place of the part in the item, always 0.') }
const summaryPlace = {
  ...place,
  summary_index: z.literal(0).describe('The place of the part in the summary, always 0.'),
}
const noLogprobs = { logprobs: z.array(z.never()).describe('Always empty.') }
const wholeText = z.string().describe('The whole text.')
const nextPiece = z.string().describe('The next piece of the text.')

function event<const Type extends string, Fields extends z.ZodRawShape>(type: Type, fields: Fields) {
  return z.strictObject({
    type: z.literal(type).describe(`Always \`${type}\`.`),
    sequence_number: Count.describe('The place of the event in the stream, from 0.'),
    ...fields,
  })
}

const whole = { response: ResponseAnswer.describe('The response so far.') }
const item = { output_index: place.output_index, item: OutputItem.describe('The item so far.') }
const part = { part: z.discriminatedUnion('type', [OutputText, ReasoningText]).describe('The part so far.') }
const summaryPart = { part: SummaryText.describe('The part so far.') }

/** The data of one event. */
export const ResponseEvent = z
  .union([
    z.discriminatedUnion('type', [
      event('response.created', whole),
      event('response.in_progress', whole),
      event('response.output_item.added', item),
      event('response.content_part.added', { ...contentPlace, ...part }),
      event('response.output_text.delta', { ...contentPlace, delta: nextPiece, ...noLogprobs }),
      event('response.output_text.done', { ...contentPlace, text: wholeText, ...noLogprobs }),
      event('response.reasoning_text.delta', { ...contentPlace, delta: nextPiece }),
      event('response.reasoning_text.done', { ...contentPlace, text: wholeText }),
      event('response.content_part.done', { ...contentPlace, ...part }),
      event('response.reasoning_summary_part.added', { ...summaryPlace, ...summaryPart }),
      event('response.reasoning_summary_text.delta', { ...summaryPlace, delta: nextPiece }),
      event('response.reasoning_summary_text.done', { ...summaryPlace, text: wholeText }),
      event('response.reasoning_summary_part.done', { ...summaryPlace, ...summaryPart }),
      event('response.function_call_arguments.delta', {
        ...place,
        delta: z.string().describe('All arguments as JSON text.'),
      }),
      event('response.function_call_arguments.done', {
        ...place,
        name: z.string().describe('The name of the tool.'),
        arguments: z.string().describe('The arguments as JSON text.'),
      }),
      event('response.custom_tool_call_input.delta', { ...place, delta: z.string().describe('The whole input.') }),
      event('response.custom_tool_call_input.done', { ...place, input: z.string().describe('The whole input.') }),
      event('response.output_item.done', item),
      event('response.completed', whole),
      event('response.incomplete', whole),
      event('response.failed', whole),
    ]),
    Refusal,
  ])
  .meta({ id: 'ResponseStreamEvent' })

export const DeletedResponse = z
  .strictObject({
    id: z.string().describe('The id of the deleted response.'),
    object: z.literal('response').describe('Always `response`.'),
    deleted: z.literal(true).describe('Always true.'),
  })
  .meta({ id: 'DeletedResponse' })

/** An item has the fields that the client sent, known or not. */
const StoredItem = z
  .looseObject({
    id: z.string().describe('The id of the item; one without gets an id from its place.'),
    type: z.string().describe('The kind of the item, for example `message`.'),
  })
  .meta({ id: 'StoredItem', description: 'An item as the client sent it. Its other fields depend on its `type`.' })

export const InputItemList = z
  .strictObject({
    object: z.literal('list').describe('Always `list`.'),
    data: z.array(StoredItem).describe('The items of this page.'),
    first_id: z.string().nullable().describe('The id of the first item of the page, null in an empty page.'),
    last_id: z
      .string()
      .nullable()
      .describe('The id of the last item of the page. Send it as `after` for the next page.'),
    has_more: z.boolean().describe('Whether another page follows.'),
  })
  .meta({ id: 'InputItemList' })

export const ResponseTokens = z
  .strictObject({
    object: z.literal('response.input_tokens').describe('Always `response.input_tokens`.'),
    input_tokens: Count.describe('Tokens of the prompt.'),
    estimated: z.literal(true).optional().describe('An extension: present if the count is an upper bound.'),
  })
  .meta({ id: 'ResponseInputTokens' })
