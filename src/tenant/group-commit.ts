/**
 * Several calls in one commit. A durable write costs one flush whatever it holds, so calls that come while the last
 * commit is being flushed are gathered, run in one transaction, and answered when that is committed. `later` says when:
 * it calls `flush` once, as soon as nothing is being written.
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

  run<Result>(work: () => Result): Promise<Result> {
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
