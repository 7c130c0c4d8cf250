/** The request body of `POST /v1/responses`, as the gateway accepts it. */
import { z } from 'zod'
import {
  cacheHints,
  effortText,
  FunctionName,
  frequencyText,
  messagesMax,
  otherObject,
  presenceText,
  schemaStrictText,
  streamText,
  strictToolText,
  Text,
  TokensMax,
  temperatureText,
  tokensText,
  toolsMax,
  topPText,
} from '../../../backends/model/chat.ts'
import { EffortWord } from '../../../backends/model/effort.ts'
import { unsupportedField, withWarning } from '../../../backends/model/unused-fields.ts'
import { InputItem } from './items.ts'

const Schema = z.record(z.string(), z.unknown())

/** Who may call a tool, and when the model sees it. Here it is the model, always. */
const callers = {
  allowed_callers: unsupportedField(),
  async: unsupportedField(false),
  defer_loading: unsupportedField(false),
}

const FunctionTool = z.object({
  type: z.literal('function').describe('A function.'),
  name: FunctionName.describe('The name of the function.').meta({ examples: ['get_weather'] }),
  description: Text.nullish().describe('The purpose of the function, for the model.'),
  parameters: Schema.nullish().describe('The JSON schema of the arguments. Default: an object without properties.'),
  strict: z.boolean().nullish().describe(`${strictToolText} The answer repeats it, or says true.`),
  output_schema: unsupportedField(),
  ...callers,
})

const CustomTool = z.object({
  type: z.literal('custom').describe('A tool with free text as its input.'),
  name: FunctionName.describe('The name of the tool.'),
  description: Text.nullish().describe('The purpose of the tool, for the model.'),
  format: z
    .object({
      type: z.string().describe('The kind of the format, `text` or `grammar`.'),
      syntax: z.string().nullish().describe('The notation of the grammar.'),
      definition: Text.nullish().describe('The grammar. The model reads it, but is not forced to match it.'),
    })
    .nullish()
    .describe('The form of the input. Default: any text.'),
  ...callers,
})

export const WireTool = z.union([
  z.discriminatedUnion('type', [FunctionTool, CustomTool]),
  otherObject(['function', 'custom']),
])

const Named = z.object({
  type: z.enum(['function', 'custom']).describe('The type of the tool.'),
  name: FunctionName.describe('The name of a tool in `tools`.'),
})

export const ToolChoice = z.union([
  z.enum(['auto', 'none', 'required']),
  z.discriminatedUnion('type', [
    Named,
    z.object({
      type: z.literal('allowed_tools').describe('Only some of the tools.'),
      mode: z.enum(['auto', 'required']).describe('Whether the model must call one of them.'),
      tools: z
        .array(
          z.object({
            type: z.string().describe('The type of the tool.'),
            name: z.string().nullish().describe('The name of a tool in `tools`.'),
          }),
        )
        .max(toolsMax)
        .describe('The tools that the model may call. With the mode `required`, one of them must be in `tools`.'),
    }),
  ]),
])

export const WireFormat = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text').describe('Any text.') }),
  z.object({ type: z.literal('json_object').describe('A JSON object.') }),
  z.object({
    type: z.literal('json_schema').describe('JSON that matches a schema.'),
    name: z.string().max(64).nullish().describe('A name for the schema. Default: `answer`.'),
    schema: Schema.describe('The JSON schema of the text.'),
    strict: z.boolean().nullish().describe(schemaStrictText),
    description: unsupportedField(),
  }),
])

export const Summary = z.enum(['auto', 'concise', 'detailed', 'none'])

export const Id = z.string().max(128)

const unsupported = (message: string) => z.null({ error: message }).optional()
const endUser = z
  .string()
  .max(512)
  .nullish()
  .describe('Without effect on the answer, which repeats it: your name for the end user in usage reports.')
const echoed = z.string().max(512).nullish().describe('Without effect: repeated in the answer.')

/** A body with none of these is refused, because it has no message. */
const oneOfThree = [
  { required: ['input'], properties: { input: { type: ['string', 'array'], minItems: 1, description: 'Not empty.' } } },
  {
    required: ['instructions'],
    properties: { instructions: { type: 'string', minLength: 1, description: 'Not empty.' } },
  },
  {
    required: ['previous_response_id'],
    properties: { previous_response_id: { type: 'string', description: 'Not null.' } },
  },
]

export const Body = z
  .object({
    model: z
      .string()
      .min(1)
      .max(256)
      .describe('The id or an alias of a model; see `GET /v1/models`.')
      .meta({ examples: ['mistral-small-4'] }),
    input: z
      .union([Text, z.array(InputItem).max(messagesMax)])
      .nullish()
      .describe(
        'The new part of the conversation: a text of the user, or items. Without it, `instructions` or `previous_response_id` is required. Items of unknown types only are refused.',
      ),
    instructions: Text.nullish().describe(
      'Instructions to the model, before the conversation. They do not apply to a response that continues this one.',
    ),
    previous_response_id: Id.nullish().describe('The stored response that this request continues.'),
    tools: z
      .array(WireTool)
      .max(toolsMax)
      .nullish()
      .describe(
        'The tools that the model may call. Types other than `function` and `custom` are removed, with a warning.',
      ),
    tool_choice: ToolChoice.nullish().describe(
      'Whether the model calls a tool: `auto` (default), `none`, `required` (at least one), one tool, or some. A required tool must be in `tools`.',
    ),
    parallel_tool_calls: z.boolean().nullish().describe('Whether one answer may have several calls. Default: true.'),
    text: z
      .object({
        format: WireFormat.nullish().describe('The form of the text. Default: `text`.'),
        verbosity: withWarning(
          z
            .string()
            .max(16)
            .nullish()
            .describe('Not supported: repeated in the answer, with a warning, unless it is `medium`.'),
          'not supported, ignored',
          'medium',
        ),
      })
      .nullish()
      .describe('The form of the answer.'),
    reasoning: z
      .object({
        effort: EffortWord.nullish().describe(effortText),
        summary: Summary.nullish().describe(
          'With `auto`, `concise` or `detailed`, the reasoning is in `summary` instead of `content`, in full.',
        ),
        generate_summary: Summary.nullish().describe('The same as `summary`, which overrides it.'),
        context: unsupportedField('auto'),
        mode: unsupportedField('standard'),
      })
      .nullish()
      .describe('How the model reasons.'),
    include: z
      .array(z.string())
      .max(32)
      .nullish()
      .describe(
        'Additional parts of the answer. `reasoning.encrypted_content` adds the encoded reasoning; other values are ignored, with a warning.',
      )
      .meta({ examples: [['reasoning.encrypted_content']] }),
    max_output_tokens: TokensMax.nullish()
      .describe(tokensText)
      .meta({ examples: [500] }),
    max_tool_calls: unsupportedField(),
    temperature: z
      .number()
      .min(0)
      .max(2)
      .nullish()
      .describe(temperatureText)
      .meta({ examples: [0.3] }),
    top_p: z.number().min(0).max(1).nullish().describe(topPText),
    presence_penalty: z.number().min(-2).max(2).nullish().describe(presenceText),
    frequency_penalty: z.number().min(-2).max(2).nullish().describe(frequencyText),
    top_logprobs: z
      .literal(0, { error: 'log probabilities are not supported. Remove it.' })
      .nullish()
      .describe('Log probabilities are not supported.'),
    store: z
      .boolean()
      .nullish()
      .describe('Whether the response is stored, so that a later request may refer to it. Default: true.'),
    stream: z.boolean().nullish().describe(streamText),
    stream_options: z
      .object({ include_obfuscation: unsupportedField(false) })
      .nullish()
      .describe('Options of a stream.'),
    service_tier: unsupportedField('auto', 'default'),
    context_management: unsupportedField(),
    moderation: unsupportedField(),
    access_programs: unsupportedField(),
    image: unsupportedField(),
    prompt_cache_options: cacheHints.cache_control,
    prompt_cache_retention: cacheHints.cache_control,
    truncation: z
      .enum(['auto', 'disabled'])
      .nullish()
      .describe('`auto` is not supported: ignored, with a warning. Default: `disabled`.'),
    metadata: z
      .record(z.string().max(64), z.string().max(512))
      .nullish()
      .describe(
        'Texts of at most 512 characters under names of at most 64: tags of the request in usage reports. Repeated in the answer.',
      ),
    prompt_cache_key: echoed,
    safety_identifier: endUser,
    user: endUser,
    background: z
      .literal(false, { error: 'background responses are not supported. Remove it.' })
      .nullish()
      .describe('Background responses are not supported.'),
    conversation: unsupported(
      'conversations are not supported. Use `previous_response_id`, or send the items.',
    ).describe('Conversations are not supported.'),
    prompt: unsupported('stored prompts are not supported. Send `instructions` and `input`.').describe(
      'Stored prompts are not supported.',
    ),
  })
  .meta({ id: 'ResponseRequest', anyOf: oneOfThree })

export type Body = z.infer<typeof Body>
