/**
 * What was read of documents and addresses, for a while: bounded in bytes and age, in all and for each tenant. Beyond a
 * tenant's share its own oldest goes first; beyond all, the oldest of the tenant that has most. So one tenant's media
 * never push out what a tenant with little has.
 */
import type { Part } from '../../backends/model/chat.ts'

export interface MediaCacheBounds {
  bytesMax: number
  bytesPerOwnerMax: number
  /** An address may show something else by then. */
  ageMaxMs: number
}

interface CachedMedia {
  parts: Part[]
  bytes: number
  at: number
}

/** One owner's, in the order of use. */
interface Share {
  kept: Map<string, CachedMedia>
  bytes: number
}

export class MediaCache {
  readonly #bounds: MediaCacheBounds
  readonly #digest: (text: string) => Promise<string>
  readonly #now: () => number
  readonly #shares = new Map<string, Share>()
  #bytes = 0

  /** @param digest of a key, which may be as long as a document */
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
    const kept = share?.kept.get(name)
    if (!share || !kept) return undefined
    this.#take(owner, share, name, kept)
    if (this.#now() - kept.at > this.#bounds.ageMaxMs) return undefined
    this.#lay(owner, name, kept)
    return kept.parts
  }

  /** False where it is larger than the owner's share. */
  async put(owner: string, key: string, parts: Part[]): Promise<boolean> {
    const name = await this.#digest(key)
    const bytes = bytesOf(parts)
    if (bytes > this.#bounds.bytesPerOwnerMax || bytes > this.#bounds.bytesMax) return false
    const share = this.#shares.get(owner)
    const old = share?.kept.get(name)
    if (share && old) this.#take(owner, share, name, old)
    this.#lay(owner, name, { parts, bytes, at: this.#now() })
    while ((this.#shares.get(owner)?.bytes ?? 0) > this.#bounds.bytesPerOwnerMax) this.#dropOldest(owner)
    while (this.#bytes > this.#bounds.bytesMax) this.#dropOldest(this.#largest())
    return true
  }

  #largest(): string {
    let largest = ''
    let most = -1
    for (const [owner, { bytes }] of this.#shares) {
      if (bytes <= most) continue
      largest = owner
      most = bytes
    }
    return largest
  }

  #dropOldest(owner: string): void {
    const share = this.#shares.get(owner)
    const [oldest] = share?.kept ?? []
    if (share && oldest) this.#take(owner, share, ...oldest)
  }

  #lay(owner: string, name: string, kept: CachedMedia): void {
    const share = this.#shares.get(owner) ?? { kept: new Map<string, CachedMedia>(), bytes: 0 }
    this.#shares.set(owner, share)
    share.kept.set(name, kept)
    share.bytes += kept.bytes
    this.#bytes += kept.bytes
  }

  #take(owner: string, share: Share, name: string, kept: CachedMedia): void {
    share.kept.delete(name)
    share.bytes -= kept.bytes
    this.#bytes -= kept.bytes
    if (share.kept.size === 0) this.#shares.delete(owner)
  }
}

/** In memory: text may take two bytes a character, base64 takes one. An entry without text has its own cost. */
export function bytesOf(parts: readonly Part[]): number {
  return parts.reduce((sum, part) => sum + (part.kind === 'text' ? 2 * part.text.length : part.url.length), 256)
}
