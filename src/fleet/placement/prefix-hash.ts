/**
 * Hashes of a prompt's prefixes, so that a request goes to a worker that has its prefix cached. The hashes are chained
 * over the engine's cache key: tenant (tenants share no prefixes), model, effort (it precedes the first turn, so
 * another effort is another prompt), system and tools, then the turns. They are taken at fixed text positions, dense at
 * the start and sparser later, so a longer prompt has all hashes of the prompt that it extends. After 64 hashes, at
 * about 1.5 million characters, hashing stops. An image contributes a sample of its bytes.
 *
 * Only hashes leave the edge, to the memory of the fleet object. They are fast, non-cryptographic hashes: two 32-bit
 * halves (murmur3 mixing), of which 53 bits are used. A collision costs at most one missed cache hit.
 */
import type { Chat, Message, Thinking } from '../../../backends/model/chat.ts'
import type { EffortWord } from '../../../backends/model/effort.ts'
import { imageTokensMax } from '../../../backends/model/image.ts'
import type { MediaPart } from '../../../backends/model/media.ts'
import type { PrefixHash } from './prefix-holders.ts'
import { imageSampleCharacters, prefixesMax, prefixFirstAt } from './tuning.ts'

export interface Prompted {
  tenantId: string
  model: string
  effort: EffortWord
  chat: Pick<Chat, 'messages' | 'tools'>
}

/** @param charsPerToken approximate, for this model's text */
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
  for (const part of message.content) {
    if (part.kind === 'text') chain.mix(part.text, true)
    else if (part.kind === 'thinking') chain.mixThinking(part)
    else chain.mixMedia(part)
  }
  if (message.role !== 'assistant') return
  for (const { name, arguments: args } of message.toolCalls) chain.mix(`${name}\n${args}`, true)
}

class Chain {
  readonly hashes: PrefixHash[] = []
  readonly #charsPerToken: number
  #high = 0x9747b28c
  #low = 0x1b873593
  #length = 0
  #next = prefixFirstAt

  constructor(charsPerToken: number) {
    this.#charsPerToken = charsPerToken
  }

  /** @param counts whether the text counts towards the prompt's length */
  mix(text: string, counts: boolean): void {
    for (let index = 0; index < text.length && this.#next !== Number.POSITIVE_INFINITY; index++) {
      const code = text.charCodeAt(index)
      this.#high = Math.imul(this.#high ^ code, 0x85ebca6b)
      this.#high ^= this.#high >>> 13
      this.#low = Math.imul(this.#low ^ code, 0xc2b2ae35)
      this.#low ^= this.#low >>> 16
      if (counts && ++this.#length === this.#next) this.#mark()
    }
    // Mixes in the boundary between parts.
    this.#high = Math.imul(this.#high ^ 0x10000, 0x85ebca6b)
    this.#low = Math.imul(this.#low ^ 0x10000, 0xc2b2ae35)
  }

  mixThinking({ text, closed }: Thinking): void {
    this.mix(closed ? 'thinking' : 'open thinking', false)
    this.mix(text, true)
  }

  /** Two images with the same sample cost at most one missed cache hit. */
  mixMedia({ kind, url }: MediaPart): void {
    this.mix(`${kind} ${url.length} ${url.slice(0, imageSampleCharacters)} ${url.slice(-imageSampleCharacters)}`, false)
    this.#length += Math.ceil(imageTokensMax * this.#charsPerToken)
    if (this.#length >= this.#next) this.#mark()
  }

  #mark(): void {
    const hash = (this.#high >>> 0) * 2 ** 21 + ((this.#low >>> 0) & 0x1fffff)
    this.hashes.push({ hash, tokens: Math.floor(this.#length / this.#charsPerToken) })
    const step = Math.max(prefixFirstAt, Math.floor(this.#length / 8))
    this.#next = this.hashes.length < prefixesMax ? this.#length + step : Number.POSITIVE_INFINITY
  }
}
