/**
 * Turns a parsed request into one internal request with its model, its effort, and the bounds of its reservation. Every
 * refusal that needs no call to another object happens here, with the field's path.
 */
import type { Chat, Message } from '../../backends/model/chat.ts'
import { type Effort, mapEffort } from '../../backends/model/effort.ts'
import { normaliseHistory } from '../../backends/model/history.ts'
import { type MediaSize, measureMedia } from '../../backends/model/media.ts'
import type { Model } from '../../backends/model/model.ts'
import { type ModelAlias, resolveModel } from '../../backends/model/model-alias.ts'
import type { ParsedRequest } from '../dialects/dialect.ts'
import { GatewayError } from '../http/errors.ts'

export interface PreparedRequest {
  /** With its history normalised, as the engine will see it. */
  chat: Chat
  model: Model
  /** The requested name, if it is not the model's own. */
  alias: ModelAlias | undefined
  effort: Effort
  media: MediaSize
  /** Path of each message in the client's body; undefined for the paths of Chat Completions. */
  fieldPaths: readonly string[] | undefined
  /** A high estimate, which sizes the first reservation. */
  promptTokens: number
  /** The client's limit, or the model's default. */
  outputTokens: number
  warnings: string[]
}

/** Tokens of a prompt in addition to its text: control tokens, the settings block, message delimiters. */
const promptOverheadTokens = 64

/**
 * @param bodyBytes length of the body for the worker, the base of the prompt estimate
 * @param offered the ids of the models that this gateway offers
 */
export function prepare(parsed: ParsedRequest, bodyBytes: number, offered: readonly string[]): PreparedRequest {
  const { chat } = parsed
  const found = resolveModel(chat.model, offered)
  if (!found.ok) throw new GatewayError(found.code, found.message, { param: found.param })
  const { model, alias } = found
  if (!model.vision) refuseImages(parsed, `${model.id} does not support images`)
  const media = measureMedia(chat.messages)
  if (!media.ok) {
    const param = parsed.fieldPaths?.[media.message] ?? `messages[${media.message}].content[${media.part}]`
    throw new GatewayError('invalid_value', `${param}: ${media.reason}`, { param })
  }
  const history = normaliseHistory(chat.messages, (index) => parsed.fieldPaths?.[index] ?? `messages[${index}]`)
  const textTokens = Math.ceil((bodyBytes - media.urlCharacters) / model.bytesPerToken) + promptOverheadTokens
  return {
    chat: { ...chat, messages: history.messages },
    model,
    alias,
    effort: mapEffort(chat.effort, model.efforts, alias?.effort ?? model.effortDefault),
    media,
    fieldPaths: parsed.fieldPaths,
    promptTokens: Math.min(model.contextTokens, textTokens + media.tokens),
    outputTokens: Math.min(chat.outputTokensMax ?? model.outputTokensDefault, model.contextTokens),
    warnings: [
      ...parsed.warnings,
      ...history.warnings,
      ...(model.vision ? [] : toolImages(chat, model)),
      ...(alias?.deprecatedOn ? [deprecation(alias)] : []),
    ],
  }
}

function deprecation({ id, target, deprecatedOn }: ModelAlias): string {
  return `model: ${id} has been deprecated since ${deprecatedOn} and served by ${target}. Use ${target}`
}

const hasImage = ({ content }: Message) => content.some((part) => part.kind === 'image')

/** For engines without vision: refuses images of the client, and warns about images in tool results. */
export function withoutImages(parsed: ParsedRequest, prepared: PreparedRequest): PreparedRequest {
  refuseImages(parsed, `no engine of ${prepared.model.id} supports images at the moment`)
  return { ...prepared, warnings: [...prepared.warnings, ...toolImages(prepared.chat, prepared.model)] }
}

function refuseImages({ chat, fieldPaths }: ParsedRequest, reason: string): void {
  const index = chat.messages.findIndex((message) => message.role !== 'tool' && hasImage(message))
  if (index < 0) return
  const param = fieldPaths?.[index] ?? `messages[${index}].content`
  const message = `${param}: ${reason}. Send text, or use a model with vision.`
  throw new GatewayError('invalid_value', message, { param })
}

/** A tool's result stays in the conversation, so refusing its image would end the conversation. It only warns. */
function toolImages(chat: Chat, model: Model): string[] {
  const some = chat.messages.some((message) => message.role === 'tool' && hasImage(message))
  return some
    ? [`messages: ${model.id} is served without vision, so images in tool results were removed and their text was kept`]
    : []
}
