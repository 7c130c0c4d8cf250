/** Transactions of a tenant object: storage, the account in memory and the alarm change together or not at all. */
import type { TenantAccount } from './account.ts'
import type { Alarm } from './alarm.ts'
import type { Commits } from './group-commit.ts'

/** The part of `DurableObjectStorage` that transactions use. */
export interface TransactionStorage {
  /** Commits the writes of `work`, or rolls them back if it throws. */
  transactionSync<Result>(work: () => Result): Result
  /** Resolves when all earlier writes are on disk. */
  sync(): Promise<void>
}

export class Transactions implements Commits {
  readonly #storage: TransactionStorage
  readonly #account: TenantAccount
  readonly #alarm: Alarm

  constructor(storage: TransactionStorage, account: TenantAccount, alarm: Alarm) {
    this.#storage = storage
    this.#account = account
    this.#alarm = alarm
  }

  transaction<Result>(work: () => Result): Result {
    const alarmTime = this.#alarm.time
    try {
      return this.#storage.transactionSync(() => this.#written(work))
    } catch (error) {
      this.#account.forget()
      // An alarm that the transaction set is rolled back too.
      this.#alarm.restore(alarmTime)
      throw error
    }
  }

  /** If the work fails, an alarm that it set stays and finds nothing due. */
  statement<Result>(work: () => Result): Result {
    try {
      return this.#written(work)
    } catch (error) {
      this.#account.forget()
      throw error
    }
  }

  flushed(then: () => void): void {
    void this.#storage.sync().then(then)
  }

  #written<Result>(work: () => Result): Result {
    const result = work()
    this.#account.write()
    const { alertedAt } = this.#account
    if (alertedAt !== undefined) this.#alarm.wakeAt(alertedAt)
    return result
  }
}
