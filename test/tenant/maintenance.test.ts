/** The alarm of a tenant object and its work, on Node's SQLite. Workers and the receiver of events are values. */
import { describe, expect, it } from 'vitest'
import { sealKey } from '../../backends/wire/seal.ts'
import type { RaisedAlert } from '../../src/fleet/alert-sink.ts'
import { Alarm } from '../../src/tenant/alarm.ts'
import { TenantAlerts } from '../../src/tenant/alerts/tenant-alerts.ts'
import { maintain } from '../../src/tenant/maintenance.ts'
import type { Known } from '../../src/tenant/overdue.ts'
import { Transactions } from '../../src/tenant/transactions.ts'
import type { DeliveryFault } from '../../src/tenant/webhooks/deliver.ts'
import { WebhookDeliveries } from '../../src/tenant/webhooks/deliveries.ts'
import { openBooks, testOrder, testReceipt } from '../support/tenant.ts'

const dueAt = 15 * 60_000 + 1
const silence: Known = { running: new Set(), owed: new Set(), silent: false }

/** A tenant object without workerd, at the time `clock.now`. */
function setUp(answer: (requestIds: string[]) => Known = () => silence, fault?: DeliveryFault) {
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
  const macKeys = async () => [await sealKey(new Uint8Array(32))]
  const send = async () => fault
  const webhook = new WebhookDeliveries({ ...parts, macKeys, send })
  const raised: RaisedAlert[] = []
  const sink = { raise: async (some: RaisedAlert[]) => void raised.push(...some) }
  const alerts = new TenantAlerts({ ...parts, macKeys, send, sink })
  const run = (now: number) => {
    clock.now = now
    return maintain({
      ...parts,
      webhook,
      alerts,
      purge: () => 0,
      copyUsage: async () => undefined,
      inquire: async (requestIds) => answer(requestIds),
    })
  }
  return { ...test, alarm, set, transactions, webhook, raised, run }
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

  it('[ALR12] receipts that are owed for half an hour alert operators once a day, and no tenant', async () => {
    const known: Known = { ...silence, silent: true }
    const test = setUp(() => known)
    for (const id of ['a', 'b']) test.transactions.transaction(() => test.books.admit(testOrder(id), 1))
    let now = dueAt
    for (const end = 4 * 3_600_000; now < end; ) now = (await test.run(now)) ?? end
    expect(test.raised).toMatchObject([{ type: 'receipts.owed', data: { tenantId: 't', requests: 2, oldestAt: 1 } }])
    expect(test.raised[0]?.at).toBeGreaterThanOrEqual(30 * 60_000)
    expect(test.books.store.alerts.page(9, 9)).toEqual([])
    const running = setUp((requestIds) => ({ ...silence, running: new Set(requestIds) }))
    running.transactions.transaction(() => running.books.admit(testOrder('a'), 1))
    for (now = dueAt; now < 4 * 3_600_000; ) now = (await running.run(now)) ?? 1e9
    expect(running.raised).toEqual([])
  })

  it('[ALR12] a meter whose receiver is a quarter of an hour late alerts operators once, until it receives again', async () => {
    const fault = { text: 'the endpoint returned 500', retryAfterMs: 0, gone: false }
    const test = setUp(() => silence, fault)
    await test.webhook.set({ url: 'https://m.example.com', eventName: 'e', customerId: 'c' }, false)
    test.transactions.transaction(() => {
      test.books.admit(testOrder('a'), 1)
      test.books.settle(testReceipt('a'), 1)
    })
    for (let now = 1; now < 3 * 3_600_000; now += 60_000) await test.run(now)
    expect(test.raised).toMatchObject([
      { type: 'meter.behind', data: { tenantId: 't', entriesBehind: 1, oldestAt: 1, lastFault: fault.text } },
    ])
    expect(test.raised[0]?.at).toBeGreaterThan(15 * 60_000)
  })
})
