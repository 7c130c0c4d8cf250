/**
 * Upper bound of a prompt's tokens, from its bytes, for a backend that cannot count. The tokenizer works on bytes, so
 * text never has more tokens than bytes. The JSON around a message is longer than its control tokens. Images and
 * documents can have more tokens than their addresses have bytes: an image counts by its size if known, all others by
 * their maximum.
 */
import type { Chat } from '../model/chat.ts'
import { imageTokensAt } from '../model/media.ts'

/** The backend reads the pages itself, so their length is unknown: the full context. */
const documentTokensMax = 262_144
/** Control tokens at both ends of the prompt and in the settings block. */
const overheadTokens = 64

export interface PromptBound {
  /** UTF-8 bytes of the prompt's text, without the addresses of images and documents. */
  textBytes: number
  /** Upper bound for images, documents and control tokens. */
  otherTokensMax: number
}

/** @param body the serialised request that contains the prompt */
export function promptBound(chat: Chat, body: string): PromptBound {
  const media = chat.messages.flatMap((message) =>
    message.role === 'assistant' ? [] : message.content.filter((part) => part.kind !== 'text'),
  )
  const addresses = media.reduce((sum, part) => sum + bytes(JSON.stringify(part.url)), 0)
  return {
    textBytes: bytes(body) - addresses,
    otherTokensMax: media.reduce(
      (sum, part) => sum + (part.kind === 'image' ? imageTokensAt(part.url) : documentTokensMax),
      overheadTokens,
    ),
  }
}

export function promptTokensMax(chat: Chat, body: string): number {
  const { textBytes, otherTokensMax } = promptBound(chat, body)
  return textBytes + otherTokensMax
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).byteLength
}
