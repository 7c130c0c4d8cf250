/**
 * Shaping: what a surface read becomes one internal request with its model, its effort, and the bounds that it is
 * reserved by. Everything that can be refused without asking anybody is refused here, by the field's path.
 */
import type { Chat, Message } from '../../backends/model/chat.ts'
import { type Effort, mapEffort } from '../../backends/model/effort.ts'
import { type MediaSize, measureMedia } from '../../backends/model/media.ts'
import type { Model } from '../../backends/model/model.ts'
import { type ModelAlias, resolveModel } from '../../backends/model/model-alias.ts'
import type { ParsedRequest } from '../dialects/dialect.ts'
import { GatewayError } from '../http/errors.ts'

export interface PreparedRequest {
  chat: Chat
  model: Model
  /** The name that was asked for, where it is not the model's own. */
  alias: ModelAlias | undefined
  effort: Effort
  media: MediaSize
  /** An estimate, meant to be high: what the first reservation is sized by. */
  promptTokens: number
  /** The client's bound, or the model's default. */
  outputTokens: number
  warnings: string[]
}

/** What a prompt carries besides its text: control tokens, the settings block, message borders. */
const promptOverheadTokens = 64

/**
 * @param bodyBytes the length of what a worker is sent, which the prompt estimate is taken from
 * @param offered the ids of the models that this gateway offers
 */
export function prepare(parsed: ParsedRequest, bodyBytes: number, offered: readonly string[]): PreparedRequest {
  const { chat } = parsed
  const found = resolveModel(chat.model, offered)
  if (!found.ok) throw new GatewayError(found.code, found.message, { param: found.param })
  const { model, alias } = found
  if (!model.vision) refuseImages(parsed, `${model.id} reads text only`)
  const media = measureMedia(chat.messages)
  if (!media.ok)
    throw new GatewayError(media.code, placed(media.message, parsed), { param: placed(media.param, parsed) })
  const textTokens = Math.ceil((bodyBytes - media.urlCharacters) / model.bytesPerToken) + promptOverheadTokens
  return {
    chat,
    model,
    alias,
    effort: mapEffort(chat.effort, model.efforts, alias?.effort ?? model.effortDefault),
    media,
    promptTokens: Math.min(model.contextTokens, textTokens + media.tokens),
    outputTokens: Math.min(chat.outputTokensMax ?? model.outputTokensDefault, model.contextTokens),
    warnings: [
      ...parsed.warnings,
      ...(model.vision ? [] : toolImages(chat, model)),
      ...(alias?.deprecatedOn ? [deprecation(alias)] : []),
    ],
  }
}

function deprecation({ id, target, deprecatedOn }: ModelAlias): string {
  return `model: ${id} is deprecated since ${deprecatedOn} and served by ${target}, ask for that`
}

const hasImage = ({ content }: Message) => content.some((part) => part.kind === 'image')

/** What is left of a request where the engines that serve its model do not see: its images are refused, or told of. */
export function withoutImages(parsed: ParsedRequest, prepared: PreparedRequest): PreparedRequest {
  refuseImages(parsed, `no engine that serves ${prepared.model.id} here has vision`)
  return { ...prepared, warnings: [...prepared.warnings, ...toolImages(prepared.chat, prepared.model)] }
}

function refuseImages({ chat, fieldPaths }: ParsedRequest, why: string): void {
  const index = chat.messages.findIndex((message) => message.role !== 'tool' && hasImage(message))
  if (index < 0) return
  const param = fieldPaths?.[index] ?? `messages[${index}].content`
  const message = `${param}: ${why}; send the text, or use a model with vision`
  throw new GatewayError('invalid_value', message, { param })
}

/** A path among the messages, as a path in the client's own body. */
function placed(text: string, { fieldPaths }: ParsedRequest): string {
  return text.replace(/^messages\[(\d+)\]\.content\[\d+\]/, (path, index) => fieldPaths?.[Number(index)] ?? path)
}

/** A tool's result stays in a conversation for good: refusing its image would end the conversation. */
function toolImages(chat: Chat, model: Model): string[] {
  const some = chat.messages.some((message) => message.role === 'tool' && hasImage(message))
  return some
    ? [`messages: ${model.id} is served without vision; images in tool results were left out, their text was kept`]
    : []
}
