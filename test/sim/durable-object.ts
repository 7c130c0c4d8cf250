/**
 * The platform under one durable object of the product: SQLite with transactions, an alarm, and one incarnation at a
 * time. Storage may fail at any write. An eviction drops the memory and the open calls; storage remains.
 */
import { DatabaseSync } from 'node:sqlite'
import { Machine } from './machine.ts'
import type { DurableObjectClass } from './product.ts'
import type { Random } from './random.ts'
import { Clock, type Planned, type Timeline } from './timeline.ts'

const alarmRetryMs = 2_000

export interface ObjectParts {
  timeline: Timeline
  random: Random
  env: object
  log: (line: string) => void
  /** A transaction, or a single statement outside of one, is on disk. */
  committed?: () => void
  rolledBack?: () => void
  beforeAlarm?: () => Promise<void>
}

export class ObjectHost {
  readonly name: string
  readonly clock: Clock
  readonly db = new DatabaseSync(':memory:')
  /** How many writes succeed before the storage fails once; a commit counts as a write. */
  failsAfter: number | null = null
  inTransaction = false
  /** Calls that have neither returned nor thrown. */
  readonly #open = new Set<(reason: Error) => void>()
  readonly #class: DurableObjectClass
  readonly #parts: ObjectParts
  readonly #statements = new Map<string, ReturnType<DatabaseSync['prepare']>>()
  #machine: Machine
  #object: Record<string, (...args: unknown[]) => unknown>
  #gate: Promise<unknown> = Promise.resolve()
  #storedAlarm: number | null = null
  #alarmEvent: Planned | undefined

  constructor(name: string, objectClass: DurableObjectClass, parts: ObjectParts) {
    this.name = name
    this.#class = objectClass
    this.#parts = parts
    this.clock = new Clock(parts.timeline)
    this.#machine = this.#newMachine()
    this.#object = this.#boot()
  }

  get machine(): Machine {
    return this.#machine
  }

  /** Calls a method. Rejects if the object is evicted before it has answered. */
  invoke(method: string, args: unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#open.add(reject)
      const settled = (settle: () => void) => {
        if (this.#open.delete(reject)) settle()
      }
      this.#machine.run(() => {
        this.#gate
          .then(() => this.#object[method]?.(...args))
          .then(
            (value) => settled(() => resolve(structuredClone(value))),
            (error) => settled(() => reject(new Error(error instanceof Error ? error.message : String(error)))),
          )
      })
    })
  }

  /** Calls a method at once, as an operator would, without the network. */
  direct(method: string, ...args: unknown[]): unknown {
    return this.#machine.call(() => this.#object[method]?.(...args))
  }

  evict(): void {
    this.#machine.kill()
    const open = [...this.#open]
    this.#open.clear()
    for (const reject of open) reject(new Error('the object was evicted'))
    this.failsAfter = null
    this.#machine = this.#newMachine()
    this.#object = this.#boot()
  }

  /** Call this after the clock was set: the alarm follows the clock. */
  planAlarm(): void {
    if (this.#alarmEvent) this.#alarmEvent.cancelled = true
    if (this.#storedAlarm === null) return
    const waitMs = Math.max(this.#storedAlarm - this.clock.now(), 0)
    this.#alarmEvent = this.#parts.timeline.after(waitMs, `${this.name}: alarm`, () => void this.#ring())
  }

  async #ring(): Promise<void> {
    this.#storedAlarm = null
    try {
      await this.#parts.beforeAlarm?.()
      await this.invoke('alarm', [])
    } catch (error) {
      this.#parts.log(`  ${this.name}: the alarm failed and is repeated: ${String(error)}`)
      this.#storedAlarm = Math.min(this.#storedAlarm ?? Number.POSITIVE_INFINITY, this.clock.now() + alarmRetryMs)
      this.planAlarm()
    }
  }

  #newMachine(): Machine {
    return new Machine(this.name, this.clock, this.#parts.timeline)
  }

  #boot(): Record<string, (...args: unknown[]) => unknown> {
    const machine = this.#machine
    const state = {
      storage: {
        sql: { exec: (query: string, ...values: unknown[]) => this.#exec(query, values) },
        transactionSync: <Result>(work: () => Result) => this.#transaction(work),
        getAlarm: async () => this.#storedAlarm,
        setAlarm: async (time: number) => this.#setAlarm(time),
        sync: () =>
          new Promise<void>((resolve) => machine.after(this.#parts.random.int(0, 12), 'storage is flushed', resolve)),
      },
      waitUntil: (work: Promise<unknown>) => void work.catch(() => undefined),
      blockConcurrencyWhile: (work: () => Promise<unknown>) => {
        this.#gate = work()
        return this.#gate
      },
    }
    return machine.call(() => new this.#class(state, this.#parts.env)) as never
  }

  #setAlarm(time: number): void {
    this.#storedAlarm = time
    if (!this.inTransaction) this.planAlarm()
  }

  #exec(query: string, values: unknown[]) {
    let statement = this.#statements.get(query)
    if (!statement) {
      statement = this.db.prepare(query)
      this.#statements.set(query, statement)
    }
    if (/^\s*(INSERT|UPDATE|DELETE)/i.test(query)) this.#write()
    const rows = statement.all(...(values as never[]))
    return { toArray: () => rows, one: () => rows[0], [Symbol.iterator]: () => rows[Symbol.iterator]() }
  }

  #write(): void {
    if (this.failsAfter === null || this.failsAfter-- > 0) return
    this.failsAfter = null
    throw new Error('the storage failed')
  }

  /** Rows and alarm change together or not at all. */
  #transaction<Result>(work: () => Result): Result {
    const alarm = this.#storedAlarm
    this.db.exec('BEGIN')
    this.inTransaction = true
    try {
      const result = work()
      this.#write()
      this.db.exec('COMMIT')
      this.inTransaction = false
      if (this.#storedAlarm !== alarm) this.planAlarm()
      this.#parts.committed?.()
      return result
    } catch (error) {
      this.db.exec('ROLLBACK')
      this.inTransaction = false
      this.#storedAlarm = alarm
      this.#parts.rolledBack?.()
      this.#parts.log(`  ${this.name}: a transaction was rolled back: ${String(error)}`)
      throw error
    }
  }
}
