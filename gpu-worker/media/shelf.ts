/** What was read of documents and addresses, for a while: bounded in bytes and age, oldest use out first. */
import type { Part } from '../../backends/protocol/chat.ts'

export interface ShelfBounds {
  bytesMax: number
  /** An address may show something else by then. */
  ageMaxMs: number
}

interface Kept {
  parts: Part[]
  bytes: number
  at: number
}

export class Shelf {
  readonly #bounds: ShelfBounds
  readonly #digest: (text: string) => Promise<string>
  readonly #now: () => number
  readonly #kept = new Map<string, Kept>()
  #bytes = 0

  /** @param digest of a key, which may be as long as a document */
  constructor(bounds: ShelfBounds, digest: (text: string) => Promise<string>, now: () => number) {
    this.#bounds = bounds
    this.#digest = digest
    this.#now = now
  }

  get bytes(): number {
    return this.#bytes
  }

  async get(key: string): Promise<Part[] | undefined> {
    const name = await this.#digest(key)
    const kept = this.#kept.get(name)
    if (!kept) return undefined
    this.#take(name, kept)
    if (this.#now() - kept.at > this.#bounds.ageMaxMs) return undefined
    this.#lay(name, kept)
    return kept.parts
  }

  async put(key: string, parts: Part[]): Promise<void> {
    const name = await this.#digest(key)
    const bytes = parts.reduce((sum, part) => sum + 2 * (part.kind === 'text' ? part.text : part.url).length, 0)
    if (bytes > this.#bounds.bytesMax) return
    const old = this.#kept.get(name)
    if (old) this.#take(name, old)
    this.#lay(name, { parts, bytes, at: this.#now() })
    for (const [oldest, kept] of this.#kept) {
      if (this.#bytes <= this.#bounds.bytesMax) break
      this.#take(oldest, kept)
    }
  }

  #lay(name: string, kept: Kept): void {
    this.#kept.set(name, kept)
    this.#bytes += kept.bytes
  }

  #take(name: string, kept: Kept): void {
    this.#kept.delete(name)
    this.#bytes -= kept.bytes
  }
}
