/**
 * OpenAI's Completions, the older form without messages. The model was trained on chats, so the prompt is one message
 * of the user, and the answer says so in a warning.
 */
import { z } from 'zod'
import { effortText, readChat, refuse, WireChat } from '../../../backends/model/chat.ts'
import { EffortWord } from '../../../backends/model/effort.ts'
import { readFields } from '../../../backends/model/field-fault.ts'
import { repairRequest } from '../../../backends/model/repair-text.ts'
import { chatSchemaPlaces } from '../../../backends/model/schema-texts.ts'
import { unsupportedField, unusedFields } from '../../../backends/model/unused-fields.ts'
import type { Dialect, ParsedRequest, Read } from '../dialect.ts'
import { openaiErrors } from '../openai-chat/errors.ts'
import { completionsWriter } from './write.ts'

export const completions: Dialect = {
  name: 'completions',
  schemaPlaces: chatSchemaPlaces,
  effortField: 'reasoning_effort',
  fieldNames: [],
  read,
  errors: openaiErrors,
  rateHeaders: () => [],
}

/** As in OpenAI's API. */
const outputTokensDefault = 16
const oneText = 'must be one text. Send one request for each prompt, as text and not as token ids.'

/** The fields that mean the same in Chat Completions. */
const { max_tokens, ...shared } = WireChat.pick({
  ...{ model: true, max_tokens: true, temperature: true, top_p: true, stop: true, seed: true, n: true },
  ...{ stream: true, stream_options: true, frequency_penalty: true, presence_penalty: true },
  ...{ user: true, logit_bias: true },
}).shape

export const Body = z
  .object({
    ...shared,
    prompt: z
      .union([z.string(), z.tuple([z.string()])], { error: oneText })
      .describe('The text, sent to the model as one message of the user. A list has one text.'),
    max_tokens: max_tokens.describe(`Maximum number of tokens of the answer. Default: ${outputTokensDefault}.`),
    reasoning_effort: EffortWord.nullish().describe(`${effortText} Default: none.`),
    best_of: z
      .literal(1, { error: 'must be 1. Repeat the request to get another answer.' })
      .nullish()
      .describe('The number of answers of which the best is returned, always 1.'),
    echo: z
      .literal(false, { error: 'is not supported. Put the prompt before the answer yourself.' })
      .nullish()
      .describe('Repeating the prompt is not supported.'),
    logprobs: z
      .null({ error: 'log probabilities are not supported. Remove the field.' })
      .optional()
      .describe('Log probabilities are not supported.'),
    suffix: z
      .union([z.literal(''), z.null()], { error: 'is not supported. Describe the gap in a chat request.' })
      .optional()
      .describe('Filling a gap is not supported.'),
    service_tier: unsupportedField('auto', 'default', 'standard'),
  })
  .meta({ id: 'CompletionRequest' })

const asChat = 'prompt: sent to the model as one message of the user, since the model answers chats'

function read(body: unknown): Read {
  const read = readFields(Body, body)
  if (!read.ok) return refuse(read.fault)
  const { prompt, max_tokens: outputTokens, reasoning_effort: effort, ...rest } = read.data
  const { best_of: _, echo: __, logprobs: ___, suffix: ____, ...asInChat } = rest
  const chat = readChat({
    ...asInChat,
    messages: [{ role: 'user', content: typeof prompt === 'string' ? prompt : prompt[0] }],
    max_tokens: outputTokens ?? outputTokensDefault,
    reasoning_effort: effort ?? 'none',
  })
  if (!chat.ok) return chat
  const { includeUsage } = chat.chat
  const writer: ParsedRequest['writer'] = (context) => completionsWriter(context, includeUsage)
  const warnings = [asChat, ...unusedFields(Body, body)]
  return { ok: true, parsed: repairRequest({ chat: chat.chat, warnings, fieldPaths: ['prompt'], writer }) }
}
