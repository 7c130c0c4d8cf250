/**
 * Shaping: an untrusted body becomes one internal request with its model, its effort, and the bounds that it is
 * reserved by. Everything that can be refused without asking anybody is refused here, by the field's path.
 */
import { type Chat, readChat } from '../../backends/protocol/chat.ts'
import { type Effort, mapEffort } from '../../backends/protocol/effort.ts'
import { type MediaSize, measureMedia } from '../../backends/protocol/media.ts'
import type { Model } from '../../backends/protocol/model.ts'
import { type ModelAlias, resolveModel } from '../../backends/protocol/model-alias.ts'
import { GatewayError } from '../errors.ts'

export interface Shaped {
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
 * @param body the parsed JSON
 * @param bodyBytes its length as sent, which the prompt estimate is taken from
 * @param offered the ids of the models that this gateway offers
 */
export function shape(body: unknown, bodyBytes: number, offered: readonly string[]): Shaped {
  const read = readChat(body)
  if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
  const { chat, warnings } = read
  const found = resolveModel(chat.model, offered)
  if (!found.ok) throw new GatewayError(found.code, found.message, { param: found.param })
  const { model, alias } = found
  if (!model.vision) refuseImages(chat, model)
  const media = measureMedia(chat.messages)
  if (!media.ok) throw new GatewayError(media.code, media.message, { param: media.param })
  const textTokens = Math.ceil((bodyBytes - media.urlCharacters) / model.bytesPerToken) + promptOverheadTokens
  return {
    chat,
    model,
    alias,
    effort: mapEffort(chat.effort, model.efforts, alias?.effort ?? model.effortDefault),
    media,
    promptTokens: Math.min(model.contextTokens, textTokens + media.tokens),
    outputTokens: Math.min(chat.outputTokensMax ?? model.outputTokensDefault, model.contextTokens),
    warnings: alias?.deprecatedOn ? [...warnings, deprecation(alias)] : warnings,
  }
}

function deprecation({ id, target, deprecatedOn }: ModelAlias): string {
  return `model: ${id} is deprecated since ${deprecatedOn} and served by ${target}, ask for that`
}

function refuseImages(chat: Chat, model: Model): void {
  const index = chat.messages.findIndex((message) => message.content.some((part) => part.kind === 'image'))
  if (index < 0) return
  const message = `messages[${index}].content: ${model.id} reads text only; send the text, or use a model with vision`
  throw new GatewayError('invalid_value', message, { param: `messages[${index}].content` })
}
