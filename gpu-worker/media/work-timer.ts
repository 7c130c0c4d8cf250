/**
 * One time budget for several pieces of work. Time passes while at least one of them runs, and stops while all of them
 * wait for other tenants' work. When the budget is spent, `signal` aborts.
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
    this.#timer = setTimeout(() => this.#spent.abort(new Error('the time budget is spent')), this.#leftMs)
  }

  /** Call `end` once for each `begin`. */
  end(): void {
    this.#working -= 1
    if (this.#working > 0) return
    clearTimeout(this.#timer)
    this.#leftMs = Math.max(0, this.#leftMs - (this.#now() - this.#since))
  }
}
