/**
 * Shaping: an untrusted body becomes one internal request with its model, its effort, and the bounds that it is
 * reserved by. Everything that can be refused without asking anybody is refused here, by the field's path.
 */
import { type Chat, readChat } from '../../backends/protocol/chat.ts'
import { type Effort, mapEffort } from '../../backends/protocol/effort.ts'
import { findModel, type Model } from '../../backends/protocol/model.ts'
import { GatewayError } from '../errors.ts'

export interface Shaped {
  chat: Chat
  model: Model
  effort: Effort
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
  const model = offered.includes(chat.model) ? findModel(chat.model) : undefined
  if (!model) {
    const message = `model "${chat.model}" is not served here: use ${offered.join(' or ')}`
    throw new GatewayError('model_not_found', message, { param: 'model' })
  }
  if (!model.vision) refuseImages(chat, model)
  return {
    chat,
    model,
    effort: mapEffort(chat.effort, model.efforts, model.effortDefault),
    promptTokens: Math.min(model.contextTokens, Math.ceil(bodyBytes / model.bytesPerToken) + promptOverheadTokens),
    outputTokens: Math.min(chat.outputTokensMax ?? model.outputTokensDefault, model.contextTokens),
    warnings,
  }
}

function refuseImages(chat: Chat, model: Model): void {
  const index = chat.messages.findIndex((message) => message.content.some((part) => part.kind === 'image'))
  if (index < 0) return
  const message = `messages[${index}].content: ${model.id} reads text only; send the text, or use a model with vision`
  throw new GatewayError('invalid_value', message, { param: `messages[${index}].content` })
}
