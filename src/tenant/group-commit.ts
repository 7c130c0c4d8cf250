/**
 * Several calls in one commit. A durable write costs one flush whatever it holds. A call that comes when nothing is being
 * written is run at once; those that come while its commit is being flushed are gathered, run in one transaction, and
 * answered when that is committed.
 *
 * Works run again, one by one, when their common transaction fails, so one that throws takes no other with it.
 */
export interface Commits {
  /** All or nothing, in storage and in memory. */
  transaction<Result>(work: () => Result): Result
  /** The same of a work that writes with one statement at most, which is all or nothing by itself: it costs less. */
  statement<Result>(work: () => Result): Result
  /** Calls `then` once, as soon as everything that was written is on disk. */
  flushed(then: () => void): void
}

export class GroupCommit {
  readonly #commits: Commits
  #flushing = false
  #waiting: { work: () => unknown; resolve: (value: never) => void; reject: (error: unknown) => void }[] = []

  constructor(commits: Commits) {
    this.#commits = commits
  }

  /** @param kind how `work` is to be run when it runs alone */
  async run<Result>(work: () => Result, kind: 'transaction' | 'statement' = 'transaction'): Promise<Result> {
    if (this.#flushing) {
      return new Promise((resolve, reject) => {
        this.#waiting.push({ work, resolve, reject })
      })
    }
    try {
      return this.#commits[kind](work)
    } finally {
      this.#awaitFlush()
    }
  }

  #awaitFlush(): void {
    this.#flushing = true
    this.#commits.flushed(() => {
      this.#flushing = false
      if (this.#waiting.length > 0) this.#runGroup()
    })
  }

  #runGroup(): void {
    const group = this.#waiting
    this.#waiting = []
    try {
      const results = this.#commits.transaction(() => group.map(({ work }) => work()))
      for (const [index, { resolve }] of group.entries()) resolve(results[index] as never)
    } catch {
      for (const { work, resolve, reject } of group) {
        try {
          resolve(this.#commits.transaction(work) as never)
        } catch (error) {
          reject(error)
        }
      }
    }
    this.#awaitFlush()
  }
}
