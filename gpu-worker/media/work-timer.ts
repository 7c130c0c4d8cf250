/**
 * One budget of time for several pieces of work: it passes while at least one of them works, and stands still while all of
 * them wait for another tenant's work to end. When it has passed, `signal` aborts.
 */
export class WorkTimer {
  readonly #spent = new AbortController()
  #leftMs: number
  readonly #now: () => number
  #working = 0
  #since = 0
  #timer: NodeJS.Timeout | undefined

  constructor(budgetMs: number, now: () => number) {
    this.#leftMs = budgetMs
    this.#now = now
  }

  get signal(): AbortSignal {
    return this.#spent.signal
  }

  begin(): void {
    this.#working += 1
    if (this.#working > 1) return
    this.#since = this.#now()
    this.#timer = setTimeout(() => this.#spent.abort(new Error('the time is spent')), this.#leftMs)
  }

  /** Call it once for each `begin`. */
  end(): void {
    this.#working -= 1
    if (this.#working > 0) return
    clearTimeout(this.#timer)
    this.#leftMs = Math.max(0, this.#leftMs - (this.#now() - this.#since))
  }
}
