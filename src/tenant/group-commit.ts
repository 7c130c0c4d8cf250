/**
 * Several calls in one commit. A durable write costs one flush whatever it holds. A call that comes when nothing is being
 * written is run at once; those that come while its commit is being flushed are gathered, run in one transaction, and
 * answered when that is committed.
 *
 * To wait for a flush costs a lone call a tenth of its time, and two callers more than sharing gains them. So calls are
 * gathered while a crowd is there, and whether one is there is looked at with one call in `probeEvery`.
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

interface WaitingCall {
  work: () => unknown
  resolve: (value: never) => void
  reject: (error: unknown) => void
}

/** So many that gather during one flush are a crowd: it serves them at least as fast as a commit for each. */
const crowd = 3

export class GroupCommit {
  readonly #commits: Commits
  readonly #probeEvery: number
  #calls = 0
  #crowded = false
  #gathered = 0
  #flushing = false
  #waiting: WaitingCall[] = []

  constructor(commits: Commits, probeEvery = 16) {
    this.#commits = commits
    this.#probeEvery = probeEvery
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
      this.#calls += 1
      if (this.#crowded || this.#calls % this.#probeEvery === 0) this.#awaitFlush()
    }
  }

  #awaitFlush(): void {
    this.#flushing = true
    this.#commits.flushed(() => {
      this.#flushing = false
      const group = this.#waiting
      this.#waiting = []
      // Of a few callers, many gather and one in turn.
      this.#crowded = Math.max(group.length, this.#gathered) >= crowd
      this.#gathered = group.length
      if (group.length > 0) this.#runGroup(group)
      if (this.#crowded) this.#awaitFlush()
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
