/** Schemas of a message, of the events of its stream, and of a count of tokens. */
import { z } from 'zod'
import { AnthropicRefusal, Count, usageExtensions } from '../../http/response-schemas.ts'

const startUsage = {
  input_tokens: Count.describe('Tokens of the prompt, without cached ones.'),
  cache_creation_input_tokens: Count.describe('Always 0: writing to the cache is free.'),
  cache_read_input_tokens: Count.describe('Tokens of the prompt that the engine had computed before.'),
  output_tokens: Count.describe('Tokens of the answer, thinking included.'),
  service_tier: z.literal('standard').describe('Always `standard`.'),
}
const StartUsage = z.strictObject(startUsage).meta({ id: 'MessageStartUsage' })
const Usage = z
  .strictObject({
    ...startUsage,
    output_tokens_details: z
      .strictObject({ thinking_tokens: Count.describe('Tokens of the thinking.') })
      .describe('Parts of `output_tokens`.'),
    ...usageExtensions,
  })
  .meta({ id: 'MessageUsage' })

const TextBlock = z
  .strictObject({
    type: z.literal('text').describe('Always `text`.'),
    text: z.string().describe('The text.'),
  })
  .meta({ id: 'TextBlock' })
const ThinkingBlock = z
  .strictObject({
    type: z.literal('thinking').describe('Always `thinking`.'),
    thinking: z.string().describe('The thinking; empty if `thinking.display` is `omitted`.'),
    signature: z.string().describe('Send it back unchanged: it has the thinking that is not shown.'),
  })
  .meta({ id: 'ThinkingBlock' })
const ToolUseBlock = z
  .strictObject({
    type: z.literal('tool_use').describe('Always `tool_use`.'),
    id: z.string().describe('The id to send back as `tool_use_id` with the result.'),
    name: z.string().describe('The name of the tool.'),
    input: z.unknown().describe('The arguments of the tool, an object.'),
  })
  .meta({ id: 'ToolUseBlock' })
const Block = z.discriminatedUnion('type', [TextBlock, ThinkingBlock, ToolUseBlock]).meta({ id: 'ContentBlock' })

const stop = {
  stop_reason: z
    .enum(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use'])
    .describe('Why the answer ended: at its own end, at the limit of tokens, at a stop sequence, or after calls.'),
  stop_sequence: z.string().nullable().describe('The stop sequence that ended the answer, null if none did.'),
}
const head = {
  id: z.string().describe('The id of the message.'),
  type: z.literal('message').describe('Always `message`.'),
  role: z.literal('assistant').describe('Always `assistant`.'),
  model: z.string().describe('The model that answers.'),
}

export const Message = z
  .strictObject({
    ...head,
    content: z.array(Block).describe('Thinking, text and calls of tools, in their order.'),
    ...stop,
    usage: Usage.describe('The tokens of the request.'),
  })
  .meta({ id: 'Message' })

const Index = Count.describe('The place of the block in the message.')

const Delta = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('text_delta').describe('Always `text_delta`.'),
      text: z.string().describe('The next piece of the text.'),
    }),
    z.strictObject({
      type: z.literal('thinking_delta').describe('Always `thinking_delta`.'),
      thinking: z.string().describe('The next piece of the thinking.'),
    }),
    z.strictObject({
      type: z.literal('signature_delta').describe('Always `signature_delta`.'),
      signature: z.string().describe('The signature of the thinking.'),
    }),
    z.strictObject({
      type: z.literal('input_json_delta').describe('Always `input_json_delta`.'),
      partial_json: z.string().describe('All arguments of the tool as JSON text.'),
    }),
  ])
  .meta({ id: 'ContentBlockDelta' })

/** The data of one event. */
export const MessageEvent = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('message_start').describe('Always `message_start`.'),
      message: z
        .strictObject({
          ...head,
          content: z.array(Block).length(0).describe('Empty.'),
          stop_reason: z.null().describe('Null.'),
          stop_sequence: z.null().describe('Null.'),
          usage: StartUsage.describe('The tokens of the prompt, estimated if the engine has not counted them yet.'),
        })
        .describe('The message without its content.'),
    }),
    z.strictObject({ type: z.literal('ping').describe('Always `ping`: the engine works on the prompt.') }),
    z.strictObject({
      type: z.literal('content_block_start').describe('Always `content_block_start`.'),
      index: Index,
      content_block: Block.describe('The block without its content.'),
    }),
    z.strictObject({
      type: z.literal('content_block_delta').describe('Always `content_block_delta`.'),
      index: Index,
      delta: Delta.describe('The next piece of the block.'),
    }),
    z.strictObject({
      type: z.literal('content_block_stop').describe('Always `content_block_stop`.'),
      index: Index,
    }),
    z.strictObject({
      type: z.literal('message_delta').describe('Always `message_delta`.'),
      delta: z.strictObject(stop).describe('The end of the message.'),
      usage: Usage.describe('The tokens of the request. They replace those of `message_start`.'),
    }),
    z.strictObject({ type: z.literal('message_stop').describe('Always `message_stop`.') }),
    AnthropicRefusal,
  ])
  .meta({ id: 'MessageStreamEvent' })

export const MessageTokens = z
  .strictObject({
    input_tokens: Count.describe('Tokens of the prompt.'),
    estimated: z.literal(true).optional().describe('An extension: present if the count is an upper bound.'),
  })
  .meta({ id: 'MessageTokensCount' })
