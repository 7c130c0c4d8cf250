/** The alarm of a tenant object and its work, on Node's SQLite. Workers and the receiver of events are values. */
import { describe, expect, it } from 'vitest'
import { Alarm } from '../../src/tenant/alarm.ts'
import { maintain } from '../../src/tenant/maintenance.ts'
import type { Known } from '../../src/tenant/overdue.ts'
import { Transactions } from '../../src/tenant/transactions.ts'
import { WebhookDeliveries } from '../../src/tenant/webhooks/deliveries.ts'
import { openBooks, testOrder, testReceipt } from '../support/tenant.ts'

const dueAt = 15 * 60_000 + 1
const silence: Known = { running: new Set(), owed: new Set(), silent: false }

/** A tenant object without workerd, at the time `clock.now`. */
function setUp(answer: (requestIds: string[]) => Known = () => silence) {
  const test = openBooks({ creditNano: 100_000 })
  const clock = { now: 1 }
  const set: number[] = []
  const alarm = new Alarm((time) => set.push(time))
  const storage = {
    transactionSync<Result>(work: () => Result): Result {
      test.db.exec('BEGIN')
      try {
        const result = work()
        test.db.exec('COMMIT')
        return result
      } catch (error) {
        test.db.exec('ROLLBACK')
        throw error
      }
    },
    sync: async () => undefined,
  }
  const transactions = new Transactions(storage, test.books, alarm)
  const parts = { account: test.books, transactions, alarm, now: () => clock.now }
  const macKey = async (): Promise<CryptoKey> => {
    throw new Error('no webhook is set')
  }
  const webhook = new WebhookDeliveries({ ...parts, macKey, send: async () => undefined })
  const run = (now: number) => {
    clock.now = now
    return maintain({
      ...parts,
      webhook,
      purge: () => 0,
      copyUsage: async () => undefined,
      inquire: async (requestIds) => answer(requestIds),
    })
  }
  return { ...test, alarm, set, transactions, run }
}

describe('the alarm of a tenant object', () => {
  it('[TEN19] the earliest time is set, and a transaction that fails restores the time before it', () => {
    const { alarm, set, transactions, books } = setUp()
    for (const time of [500, 900, 300]) alarm.wakeAt(time)
    expect([alarm.time, set]).toEqual([300, [500, 300]])
    const failing = () =>
      transactions.transaction(() => {
        books.admit(testOrder('a'), 1)
        alarm.wakeAt(100)
        throw new Error('disk full')
      })
    expect(failing).toThrow('disk full')
    expect([alarm.time, books.tenant()?.reservedNano]).toEqual([300, 0])
    alarm.fired()
    alarm.wakeAt(900)
    expect(set).toEqual([500, 300, 100, 900])
  })

  it('[TEN20] an overdue reservation expires, is extended while its worker runs, and keeps a receipt that came meanwhile', async () => {
    const asked: string[][] = []
    const test = setUp((requestIds) => {
      asked.push(requestIds)
      test.transactions.transaction(() => test.books.settle(testReceipt('settled'), dueAt))
      return { ...silence, running: new Set(['running', 'settled']) }
    })
    const ids = ['lost', 'running', 'settled']
    for (const id of ids) test.transactions.transaction(() => test.books.admit(testOrder(id), 1))
    expect(await test.run(dueAt - 1)).toBe(dueAt)
    expect(asked).toEqual([])
    const next = await test.run(dueAt)
    expect(asked).toEqual([ids])
    expect(ids.map((id) => test.books.store.reservations.find(id)?.state)).toEqual(['expired', 'reserved', 'posted'])
    expect(next).toBe(test.books.store.reservations.find('running')?.expiresAt)
    expect(next).toBeGreaterThan(dueAt)
  })

  it('[TEN21] pruning continues a second later while old entries are left, and then stops', async () => {
    const test = setUp()
    test.transactions.transaction(() => {
      for (let index = 0; index < 2_500; index++) test.books.credit(1, 'small', 0)
    })
    const later = 91 * 86_400_000
    expect(await test.run(later)).toBe(later + 1_000)
    expect(await test.run(later + 1_000)).toBeUndefined()
    expect(test.books.store.pruned.find().seq).toBe(2_501)
  })
})
