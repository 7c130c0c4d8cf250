/**
 * Group commit: several calls in one commit, because a durable write costs one flush for any number of rows. A call
 * that arrives while no flush is pending runs at once. Calls that arrive during a flush are collected, run in one
 * transaction, and resolve when it is committed.
 *
 * Waiting for a flush costs a lone call a tenth of its time, and costs two callers more than sharing gains. So grouping
 * is on only while there are enough concurrent callers, which one call in `probeEvery` checks.
 *
 * If a shared transaction fails, its calls run again one by one, so a call that throws does not fail the others.
 */
export interface Commits {
  /** All or nothing, in storage and in memory. */
  transaction<Result>(work: () => Result): Result
  /** Like `transaction`, but cheaper: for work with at most one writing statement, which is atomic by itself. */
  statement<Result>(work: () => Result): Result
  /** Calls `then` once, as soon as all earlier writes are on disk. */
  flushed(then: () => void): void
}

interface WaitingCall {
  work: () => unknown
  resolve: (value: never) => void
  reject: (error: unknown) => void
}

/** From this number of calls per flush, grouping is at least as fast as one commit per call. */
const groupMin = 3

export class GroupCommit {
  readonly #commits: Commits
  readonly #probeEvery: number
  #calls = 0
  #grouping = false
  #lastGroup = 0
  #flushing = false
  #waiting: WaitingCall[] = []

  constructor(commits: Commits, probeEvery = 16) {
    this.#commits = commits
    this.#probeEvery = probeEvery
  }

  /** @param kind how `work` runs when it runs alone */
  async run<Result>(work: () => Result, kind: 'transaction' | 'statement' = 'transaction'): Promise<Result> {
    if (this.#flushing) {
      return new Promise((resolve, reject) => {
        this.#waiting.push({ work, resolve, reject })
      })
    }
    try {
      return this.#commits[kind](work)
    } finally {
      this.#calls += 1
      if (this.#grouping || this.#calls % this.#probeEvery === 0) this.#awaitFlush()
    }
  }

  #awaitFlush(): void {
    this.#flushing = true
    this.#commits.flushed(() => {
      this.#flushing = false
      const group = this.#waiting
      this.#waiting = []
      // With few callers, large and small groups alternate.
      this.#grouping = Math.max(group.length, this.#lastGroup) >= groupMin
      this.#lastGroup = group.length
      if (group.length > 0) this.#runGroup(group)
      if (this.#grouping) this.#awaitFlush()
    })
  }

  #runGroup(group: readonly WaitingCall[]): void {
    let results: unknown[]
    try {
      results = this.#commits.transaction(() => group.map(({ work }) => work()))
    } catch {
      for (const { work, resolve, reject } of group) {
        try {
          resolve(this.#commits.transaction(work) as never)
        } catch (error) {
          reject(error)
        }
      }
      return
    }
    for (const [index, { resolve }] of group.entries()) resolve(results[index] as never)
  }
}
