/**
 * A prompt's beginnings as hashes, so that a request can be sent where its beginning is held already. The hashes are
 * chained over what the engine caches by: tenant (prefixes are shared within one only), model, effort (it stands before
 * the first turn, so another effort is another prompt), system and tools, then the turns. They are taken at fixed places
 * in the text, close together where it begins and further apart later, so that a longer prompt has the same hashes as
 * far as it is the same. After 64 of them, at about a million and a half characters, nothing more is read; of an image's
 * bytes a sample is.
 *
 * Only hashes leave the edge, and only for the fleet's object, in memory. They are fast ones, for placing: two 32-bit
 * halves (murmur3's mixing) of which 53 bits are kept. A collision costs a prefix that is not there, nothing else.
 */
import type { Chat, Message } from '../../../backends/model/chat.ts'
import type { EffortWord } from '../../../backends/model/effort.ts'
import { imageTokensMax } from '../../../backends/model/image.ts'
import type { MediaPart } from '../../../backends/model/media.ts'
import type { PrefixHash } from './prefix-holders.ts'

const firstAt = 256
const prefixesMax = 64

export interface Prompted {
  tenantId: string
  model: string
  effort: EffortWord
  chat: Pick<Chat, 'messages' | 'tools'>
}

/** @param charsPerToken of this model's text, about */
export function prefixHashes({ tenantId, model, effort, chat }: Prompted, charsPerToken: number): PrefixHash[] {
  const chain = new Chain(charsPerToken)
  chain.mix(`${tenantId}\n${model}\n${effort}\n`, false)
  const { messages, tools } = chat
  for (const message of messages) if (message.role === 'system') mixMessage(chain, message)
  for (const { name, description, parameters } of tools) {
    chain.mix(`${name}\n${description}\n${JSON.stringify(parameters)}`, true)
  }
  for (const message of messages) if (message.role !== 'system') mixMessage(chain, message)
  return chain.hashes
}

function mixMessage(chain: Chain, message: Message): void {
  chain.mix(message.role === 'tool' ? `tool ${message.toolCallId}` : message.role, true)
  if (message.role === 'assistant') chain.mix(message.reasoning, true)
  for (const part of message.content) {
    if (part.kind === 'text') chain.mix(part.text, true)
    else chain.mixMedia(part)
  }
  if (message.role !== 'assistant') return
  for (const { name, arguments: args } of message.toolCalls) chain.mix(`${name}\n${args}`, true)
}

/** Characters of a data URL: beyond its head, which many have alike, into the picture. */
const sampled = 4_096

class Chain {
  readonly hashes: PrefixHash[] = []
  readonly #charsPerToken: number
  #high = 0x9747b28c
  #low = 0x1b873593
  #length = 0
  #next = firstAt

  constructor(charsPerToken: number) {
    this.#charsPerToken = charsPerToken
  }

  /** @param counts whether it is part of the prompt's text */
  mix(text: string, counts: boolean): void {
    for (let index = 0; index < text.length && this.#next !== Number.POSITIVE_INFINITY; index++) {
      const code = text.charCodeAt(index)
      this.#high = Math.imul(this.#high ^ code, 0x85ebca6b)
      this.#high ^= this.#high >>> 13
      this.#low = Math.imul(this.#low ^ code, 0xc2b2ae35)
      this.#low ^= this.#low >>> 16
      if (counts && ++this.#length === this.#next) this.#mark()
    }
    // Where one part ends is part of it.
    this.#high = Math.imul(this.#high ^ 0x10000, 0x85ebca6b)
    this.#low = Math.imul(this.#low ^ 0x10000, 0xc2b2ae35)
  }

  /** Two that are taken for the same cost a prefix that is not there. */
  mixMedia({ kind, url }: MediaPart): void {
    this.mix(`${kind} ${url.length} ${url.slice(0, sampled)} ${url.slice(-sampled)}`, false)
    this.#length += Math.ceil(imageTokensMax * this.#charsPerToken)
    if (this.#length >= this.#next) this.#mark()
  }

  #mark(): void {
    const hash = (this.#high >>> 0) * 2 ** 21 + ((this.#low >>> 0) & 0x1fffff)
    this.hashes.push({ hash, tokens: Math.floor(this.#length / this.#charsPerToken) })
    const step = Math.max(firstAt, Math.floor(this.#length / 8))
    this.#next = this.hashes.length < prefixesMax ? this.#length + step : Number.POSITIVE_INFINITY
  }
}
