/** The request body of `POST /v1/responses`, as the gateway accepts it. */
import { z } from 'zod'
import { FunctionName, messagesMax, Text, TokensMax, toolsMax } from '../../../backends/model/chat.ts'
import { EffortWord } from '../../../backends/model/effort.ts'
import { InputItem } from './items.ts'

const Schema = z.record(z.string(), z.unknown())

const FunctionTool = z.object({
  type: z.literal('function'),
  name: FunctionName,
  description: Text.nullish(),
  parameters: Schema.nullish(),
  strict: z.boolean().nullish(),
})

const CustomTool = z.object({
  type: z.literal('custom'),
  name: FunctionName,
  description: Text.nullish(),
  format: z.object({ type: z.string(), syntax: z.string().nullish(), definition: Text.nullish() }).nullish(),
})

export const WireTool = z.union([
  z.discriminatedUnion('type', [FunctionTool, CustomTool]),
  z.object({ type: z.string().refine((type) => type !== 'function' && type !== 'custom', { abort: true }) }),
])

const Named = z.object({ type: z.enum(['function', 'custom']), name: FunctionName })

const Choice = z.union([
  z.enum(['auto', 'none', 'required']),
  z.discriminatedUnion('type', [
    Named,
    z.object({
      type: z.literal('allowed_tools'),
      mode: z.enum(['auto', 'required']),
      tools: z.array(z.object({ type: z.string(), name: z.string().nullish() })).max(toolsMax),
    }),
  ]),
])

export const WireFormat = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object') }),
  z.object({ type: z.literal('json_schema'), name: z.string().max(64).nullish(), schema: Schema }),
])

export const Id = z.string().max(128)

const unsupported = (message: string) => z.null({ error: message }).optional()

export const Body = z.object({
  model: z.string().min(1).max(256),
  input: z.union([Text, z.array(InputItem).max(messagesMax)]).nullish(),
  instructions: Text.nullish(),
  previous_response_id: Id.nullish(),
  tools: z.array(WireTool).max(toolsMax).nullish(),
  tool_choice: Choice.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  text: z.object({ format: WireFormat.nullish(), verbosity: z.string().max(16).nullish() }).nullish(),
  reasoning: z
    .object({ effort: EffortWord.nullish(), summary: z.enum(['auto', 'concise', 'detailed', 'none']).nullish() })
    .nullish(),
  include: z.array(z.string()).max(32).nullish(),
  max_output_tokens: TokensMax.nullish(),
  max_tool_calls: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  top_logprobs: z.literal(0, { error: 'log probabilities are not supported. Remove it.' }).nullish(),
  store: z.boolean().nullish(),
  stream: z.boolean().nullish(),
  truncation: z.enum(['auto', 'disabled']).nullish(),
  metadata: z.record(z.string().max(64), z.string().max(512)).nullish(),
  prompt_cache_key: z.string().max(512).nullish(),
  safety_identifier: z.string().max(512).nullish(),
  user: z.string().max(512).nullish(),
  background: z.literal(false, { error: 'background responses are not supported. Remove it.' }).nullish(),
  conversation: unsupported('conversations are not supported. Use `previous_response_id`, or send the items.'),
  prompt: unsupported('stored prompts are not supported. Send `instructions` and `input`.'),
})

export type Body = z.infer<typeof Body>
