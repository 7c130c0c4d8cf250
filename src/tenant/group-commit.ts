/**
 * Several calls in one commit. A durable write costs one flush whatever it holds, so calls that come close together
 * are gathered for one turn of the event loop, run in one transaction, and answered when it is committed. A call that
 * comes alone is not kept waiting: gathering costs a timer's turn, and is used only when `share` says that it pays.
 *
 * Works run again, one by one, when their common transaction fails, so one that throws takes no other with it.
 */
export class GroupCommit {
  readonly #transaction: <Result>(work: () => Result) => Result
  readonly #later: (flush: () => void) => void
  #waiting: { work: () => unknown; resolve: (value: never) => void; reject: (error: unknown) => void }[] = []

  constructor(transaction: <Result>(work: () => Result) => Result, later: (flush: () => void) => void) {
    this.#transaction = transaction
    this.#later = later
  }

  run<Result>(work: () => Result, share: boolean): Promise<Result> {
    if (!share && this.#waiting.length === 0) return new Promise((resolve) => resolve(this.#transaction(work)))
    return new Promise((resolve, reject) => {
      this.#waiting.push({ work, resolve, reject })
      if (this.#waiting.length === 1) this.#later(() => this.#flush())
    })
  }

  #flush(): void {
    const group = this.#waiting
    this.#waiting = []
    let results: unknown[]
    try {
      results = this.#transaction(() => group.map(({ work }) => work()))
    } catch {
      for (const { work, resolve, reject } of group) {
        try {
          resolve(this.#transaction(work) as never)
        } catch (error) {
          reject(error)
        }
      }
      return
    }
    for (const [index, { resolve }] of group.entries()) resolve(results[index] as never)
  }
}
