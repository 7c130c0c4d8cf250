/**
 * Failed sign-ins with operator keys, counted by address and hour for the audit log. An attacker can send any number of
 * them, so the rows are bounded: one per address and hour, and one for all addresses beyond the limit. Pure.
 */
const hourMs = 3_600_000
export const addressesMax = 100
/** Failures a minute from one address before each further one is refused with 429. */
export const failuresPerMinuteMax = 30

export interface FailedSignIns {
  /** Start of the hour. */
  hour: number
  /** Null for unknown addresses and for those beyond the limit. */
  address: string | null
  /** Failures since the last write. */
  times: number
}

export class SignInFailures {
  #hour = 0
  /** Failures by address that are not written yet. */
  #pending = new Map<string | null, number>()
  /** The addresses of this hour. */
  readonly #known = new Set<string>()
  #minute = 0
  readonly #recent = new Map<string | null, number>()

  /** Counts a failure. `first`: it is the first that is not written, so the caller takes all of them a moment later. */
  count(from: string | null, now: number): { first: boolean; tooMany: boolean } {
    this.#turn(now)
    const address = this.#named(from)
    const first = this.#pending.size === 0
    this.#pending.set(address, (this.#pending.get(address) ?? 0) + 1)
    const recent = (this.#recent.get(address) ?? 0) + 1
    this.#recent.set(address, recent)
    // Unknown addresses are of many clients, so one of them cannot slow the others down.
    return { first, tooMany: address !== null && recent > failuresPerMinuteMax }
  }

  /** The failures to write now. They count in the present hour. */
  take(now: number): FailedSignIns[] {
    this.#turn(now)
    const rows = [...this.#pending].map(([address, times]) => ({ hour: this.#hour, address, times }))
    this.#pending.clear()
    return rows
  }

  /** Begins a new minute and a new hour when they are due. */
  #turn(now: number): void {
    const minute = Math.floor(now / 60_000)
    if (minute !== this.#minute) this.#recent.clear()
    this.#minute = minute
    const hour = now - (now % hourMs)
    if (hour !== this.#hour) this.#known.clear()
    this.#hour = hour
  }

  #named(from: string | null): string | null {
    if (from === null || this.#known.has(from)) return from
    if (this.#known.size >= addressesMax) return null
    this.#known.add(from)
    return from
  }
}
