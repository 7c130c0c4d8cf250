/** Runs work some time after it was scheduled, once for all calls until then. */
export class DelayedTask {
  readonly #delayMs: number
  readonly #work: () => boolean
  #scheduled = false

  /** @param work returns whether to run again after the same delay. */
  constructor(delayMs: number, work: () => boolean) {
    this.#delayMs = delayMs
    this.#work = work
  }

  schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setTimeout(() => {
      this.#scheduled = false
      if (this.#work()) this.schedule()
    }, this.#delayMs)
  }
}
