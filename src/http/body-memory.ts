/**
 * The memory that large bodies take in one isolate, which all its requests share. A body is held from its first bytes to
 * the end of its request; while it is parsed it takes more, but only one is parsed at a time. Pure.
 */
export interface BodyHold {
  /** Holds `bytes` from now on, more or less than before. False where that does not fit, and nothing changes. */
  resize(bytes: number): boolean
  /** Whether `bytes` fit for a moment in which nothing else runs, the hold's own included. */
  fits(bytes: number): boolean
  release(): void
}

export class BodyMemory {
  readonly #bytesMax: number
  readonly #byTenant = new Map<string, number>()
  #held = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get heldBytes(): number {
    return this.#held
  }

  /** Holds nothing at first. */
  open(tenantId: string): BodyHold {
    let mine = 0
    const set = (bytes: number) => {
      const tenant = (this.#byTenant.get(tenantId) ?? 0) + bytes - mine
      if (tenant > 0) this.#byTenant.set(tenantId, tenant)
      else this.#byTenant.delete(tenantId)
      this.#held += bytes - mine
      mine = bytes
    }
    const free = () => this.#bytesMax - this.#held + mine
    /** Of the tenant's other bodies. With one of its own in the way, a tenant has half: the other half is for the others. */
    const others = () => (this.#byTenant.get(tenantId) ?? 0) - mine
    const fits = (bytes: number) =>
      bytes <= free() && (others() === 0 || others() + bytes <= this.#bytesMax / 2 || bytes <= mine)
    return {
      resize(bytes) {
        if (!fits(bytes)) return false
        set(bytes)
        return true
      },
      fits,
      release: () => set(0),
    }
  }
}
