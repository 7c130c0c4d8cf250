/**
 * Accounts for the memory of large bodies in one isolate, which all its requests share. A body counts from its first
 * bytes to the end of its request. Parsing takes more, but only one body is parsed at a time. Pure.
 */
export interface BodyHold {
  /** Changes the hold to `bytes`. Returns false, without a change, when that does not fit. */
  resize(bytes: number): boolean
  /** Whether `bytes`, the hold's own included, fit for a synchronous step. */
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

  /** Opens a hold of zero bytes. */
  open(tenantId: string): BodyHold {
    let own = 0
    const set = (bytes: number) => {
      const tenant = (this.#byTenant.get(tenantId) ?? 0) + bytes - own
      if (tenant > 0) this.#byTenant.set(tenantId, tenant)
      else this.#byTenant.delete(tenantId)
      this.#held += bytes - own
      own = bytes
    }
    const free = () => this.#bytesMax - this.#held + own
    /** Bytes of the tenant's other bodies. A tenant with several bodies gets at most half of the memory. */
    const others = () => (this.#byTenant.get(tenantId) ?? 0) - own
    const fits = (bytes: number) =>
      bytes <= free() && (others() === 0 || others() + bytes <= this.#bytesMax / 2 || bytes <= own)
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
