/**
 * The most tokens that a prompt can have, for a backend that cannot count it: taken from bytes. The tokenizer works on
 * bytes, so text never has more tokens than bytes, and the JSON around each message is longer than the control tokens
 * that it becomes. Only images and documents have more tokens than their addresses have bytes; an image is
 * counted by its size, where that is told, and everything else at the most that one can have.
 */
import type { Chat } from '../model/chat.ts'
import { imageTokensAt } from '../model/media.ts'

/** Pages are read there, and nothing tells beforehand how many tokens they have: all that fits. */
const documentTokensMax = 262_144
/** Control tokens at the prompt's ends and the block of settings. */
const overheadTokens = 64

export interface PromptBound {
  /** Of all text that the prompt is made of, in UTF-8; no image's address is in it. */
  textBytes: number
  /** The most that the images and what stands around the messages can take. */
  otherTokensMax: number
}

/** @param body the request that the prompt is made of */
export function promptBound(chat: Chat, body: string): PromptBound {
  const media = chat.messages.flatMap((message) => message.content.filter((part) => part.kind !== 'text'))
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
