/**
 * Cache of documents and images that were read, limited in age and in bytes, in all and per tenant. Over a tenant's
 * share, the cache drops that tenant's oldest entry; over the total, the oldest entry of the largest tenant. So a
 * tenant with many media never evicts those of a tenant with few.
 */
import type { Part } from '../../backends/model/chat.ts'

export interface MediaCacheBounds {
  bytesMax: number
  bytesPerOwnerMax: number
  /** Limits staleness: the content at a URL may change. */
  ageMaxMs: number
}

interface CachedMedia {
  parts: Part[]
  bytes: number
  at: number
}

/** One owner's entries, least recently used first. */
interface Share {
  entries: Map<string, CachedMedia>
  bytes: number
}

export class MediaCache {
  readonly #bounds: MediaCacheBounds
  readonly #digest: (text: string) => Promise<string>
  readonly #now: () => number
  readonly #shares = new Map<string, Share>()
  #bytes = 0

  /** @param digest hashes a key, because a key may be as long as a document */
  constructor(bounds: MediaCacheBounds, digest: (text: string) => Promise<string>, now: () => number) {
    this.#bounds = bounds
    this.#digest = digest
    this.#now = now
  }

  get bytes(): number {
    return this.#bytes
  }

  async get(owner: string, key: string): Promise<Part[] | undefined> {
    const name = await this.#digest(key)
    const share = this.#shares.get(owner)
    const entry = share?.entries.get(name)
    if (!share || !entry) return undefined
    this.#remove(owner, share, name, entry)
    if (this.#now() - entry.at > this.#bounds.ageMaxMs) return undefined
    this.#add(owner, name, entry)
    return entry.parts
  }

  /** Returns false for media larger than the owner's share. */
  async put(owner: string, key: string, parts: Part[]): Promise<boolean> {
    const name = await this.#digest(key)
    const bytes = bytesOf(parts)
    if (bytes > this.#bounds.bytesPerOwnerMax || bytes > this.#bounds.bytesMax) return false
    const share = this.#shares.get(owner)
    const old = share?.entries.get(name)
    if (share && old) this.#remove(owner, share, name, old)
    this.#add(owner, name, { parts, bytes, at: this.#now() })
    while ((this.#shares.get(owner)?.bytes ?? 0) > this.#bounds.bytesPerOwnerMax) this.#dropOldest(owner)
    while (this.#bytes > this.#bounds.bytesMax) this.#dropOldest(this.#largest())
    return true
  }

  #largest(): string {
    let largest = ''
    let maxBytes = -1
    for (const [owner, { bytes }] of this.#shares) {
      if (bytes <= maxBytes) continue
      largest = owner
      maxBytes = bytes
    }
    return largest
  }

  #dropOldest(owner: string): void {
    const share = this.#shares.get(owner)
    const [oldest] = share?.entries ?? []
    if (share && oldest) this.#remove(owner, share, ...oldest)
  }

  #add(owner: string, name: string, entry: CachedMedia): void {
    const share = this.#shares.get(owner) ?? { entries: new Map<string, CachedMedia>(), bytes: 0 }
    this.#shares.set(owner, share)
    share.entries.set(name, entry)
    share.bytes += entry.bytes
    this.#bytes += entry.bytes
  }

  #remove(owner: string, share: Share, name: string, entry: CachedMedia): void {
    share.entries.delete(name)
    share.bytes -= entry.bytes
    this.#bytes -= entry.bytes
    if (share.entries.size === 0) this.#shares.delete(owner)
  }
}

/** Estimates bytes in memory: two per character of text, one per character of base64, plus 256 for the entry. */
export function bytesOf(parts: readonly Part[]): number {
  return parts.reduce((sum, part) => sum + (part.kind === 'text' ? 2 * part.text.length : part.url.length), 256)
}
