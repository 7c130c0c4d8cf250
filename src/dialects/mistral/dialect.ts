/**
 * Mistral's dialect of Chat Completions, under `/mistral/v1`: Mistral's own request fields, and thinking as chunks of
 * the content, the only form that Mistral's clients show.
 */

import { z } from 'zod'
import {
  callIdMax,
  effortText,
  messagesMax,
  readChat,
  refuse,
  Seed,
  seedText,
  WireChat,
} from '../../../backends/model/chat.ts'
import { EffortWord } from '../../../backends/model/effort.ts'
import { readFields } from '../../../backends/model/field-fault.ts'
import { repairRequest } from '../../../backends/model/repair-text.ts'
import { chatSchemaPlaces } from '../../../backends/model/schema-texts.ts'
import { unsupportedField, unusedFields } from '../../../backends/model/unused-fields.ts'
import type { Dialect, ParsedRequest, Read } from '../dialect.ts'
import { openaiErrors } from '../openai-chat/errors.ts'
import { mistralWriter } from './write.ts'

export const mistral: Dialect = {
  name: 'mistral',
  schemaPlaces: chatSchemaPlaces,
  effortField: 'reasoning_effort',
  fieldNames: [],
  read,
  errors: openaiErrors,
  rateHeaders: () => [],
}

/** The fields that differ from Chat Completions. */
const own = {
  random_seed: Seed.nullish().describe(seedText),
  prompt_mode: z
    .literal('reasoning')
    .nullish()
    .describe('Without `reasoning_effort`, `reasoning` means the effort `high`.'),
  reasoning_effort: EffortWord.nullish().describe(effortText),
  safe_prompt: z
    .boolean()
    .nullish()
    .describe('Whether Mistral’s safety prompt comes before the conversation. Default: false.'),
  guardrails: unsupportedField(),
}
const Own = z.object({ ...own, messages: z.array(z.unknown()).optional().catch(undefined) })

const [System, User, Assistant, Tool] = WireChat.shape.messages.element.options
const ToolWithoutId = Tool.in.extend({
  tool_call_id: z
    .string()
    .max(callIdMax)
    .nullish()
    .describe('The id of the call. Results without ids belong to the calls in their order.'),
})

/** The body as the documents describe it. It is read in two steps; see `read`. */
export const Body = z
  .object({
    ...WireChat.omit({ seed: true, functions: true, function_call: true }).shape,
    ...own,
    messages: z
      .array(z.discriminatedUnion('role', [System, User, Assistant, ToolWithoutId]))
      .min(1)
      .max(messagesMax)
      .describe('The conversation, oldest message first.'),
  })
  .meta({ id: 'MistralChatCompletionRequest' })

/** The system prompt that Mistral's API adds for `safe_prompt`, verbatim. */
const safePrompt =
  'Always assist with care, respect, and truth. Respond with utmost utility yet securely. Avoid harmful, unethical, ' +
  'prejudiced, or negative content. Ensure replies promote fairness and positivity.'

function read(body: unknown): Read {
  const own = readFields(Own, body)
  if (!own.ok) return refuse(own.fault)
  const { random_seed: seed, prompt_mode: mode, reasoning_effort: effort, safe_prompt: safe } = own.data
  const read = readChat({
    ...(body as object),
    ...(own.data.messages && { messages: own.data.messages.map(message) }),
    seed,
    functions: undefined,
    function_call: undefined,
    reasoning_effort: effort ?? (mode ? 'high' : undefined),
  })
  if (!read.ok) return read
  const { chat } = read
  const warnings = [...read.warnings, ...unusedFields(Body, body)]
  if (safe) chat.messages.unshift({ role: 'system', content: [{ kind: 'text', text: safePrompt }] })
  const fieldPaths = chat.messages.map((_, index) =>
    safe && index === 0 ? 'safe_prompt' : `messages[${index - (safe ? 1 : 0)}].content`,
  )
  const writer: ParsedRequest['writer'] = (context) => mistralWriter(context)
  return { ok: true, parsed: repairRequest({ chat, warnings, fieldPaths, writer }) }
}

const ToolResult = z.looseObject({ role: z.literal('tool'), tool_call_id: z.string().nullish() })

/** A tool result may lack the id of its call; results without ids belong to the calls in order. */
function message(message: unknown): unknown {
  const result = ToolResult.safeParse(message).data
  return result ? { ...result, tool_call_id: result.tool_call_id ?? '' } : message
}
