/** The tenant's real SQL, on Node's SQLite. The same statements run in workerd in test/edge. */
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import { fullBucket } from '../../src/limits/bucket.ts'
import { schema } from '../../src/tenant/schema.ts'
import { type KeyRow, openStore, type Row, type Sql, type Tenant } from '../../src/tenant/store.ts'

function nodeSql(db: DatabaseSync): Sql {
  return {
    all: (query, ...values) => db.prepare(query).all(...values) as Row[],
    run: (query, ...values) => void db.prepare(query).run(...values),
  }
}

const tenant: Tenant = {
  tenantId: 't',
  name: 'T',
  createdAt: 1,
  creditNano: 9_000_000_000_000_000,
  postedNano: 0,
  reservedNano: 0,
  requestsPerMinute: 0,
  concurrentMax: 3,
  effortUnknown: 'reject',
}

const key: KeyRow = {
  keyId: 'k',
  name: 'K',
  prefix: 'tm_live_t_k_abcd',
  secretHash: 'aa',
  createdAt: 1,
  expiresAt: null,
  revokedAt: null,
  requestsPerMinute: 60,
  bucket: fullBucket(60, 1),
}

const labels = { keyId: 'k', model: 'm', pool: 'latency', effort: 'none', workerId: 'w', outcome: 'finished' }

describe('store', () => {
  it('[STO1] what was put is read back as it was, money beyond 32 bits included', () => {
    const store = openStore(nodeSql(new DatabaseSync(':memory:')))
    expect(store.tenant()).toBeUndefined()
    store.putTenant(tenant)
    store.putKey(key)
    expect(store.tenant()).toEqual(tenant)
    expect(store.keys()).toEqual([key])
    store.putBalances({ ...tenant, postedNano: 8_999_999_999_999_999, reservedNano: 1 })
    expect(store.tenant()).toMatchObject({ postedNano: 8_999_999_999_999_999, reservedNano: 1 })
  })

  it('[STO2] opening a store again migrates nothing twice and keeps everything', () => {
    const db = new DatabaseSync(':memory:')
    openStore(nodeSql(db)).putTenant(tenant)
    expect(openStore(nodeSql(db)).tenant()).toEqual(tenant)
    expect(db.prepare('SELECT version FROM schema_version').all()).toEqual([{ version: schema.length }])
  })

  it('[STO3] of several rate cards the one in force is read', () => {
    const store = openStore(nodeSql(new DatabaseSync(':memory:')))
    const rates = (n: number) => ({ inputNano: n, cachedNano: n, outputNano: n })
    store.putRates('m', 10, rates(1))
    store.putRates('m', 20, rates(2))
    expect([5, 10, 19, 20].map((now) => store.rates('m', now)?.inputNano)).toEqual([undefined, 1, 1, 2])
  })

  it('[STO4] a dispatch has one entry at most, whatever the caller does', () => {
    const store = openStore(nodeSql(new DatabaseSync(':memory:')))
    const entry = {
      requestId: 'r',
      dispatchId: 'r.1',
      kind: 'post',
      costNano: 5,
      shortNano: 0,
      counts: null,
      estimated: false,
      at: 1,
    } as const
    expect(store.hasEntry('r.1')).toBe(false)
    store.addEntry(entry, labels)
    expect(store.hasEntry('r.1')).toBe(true)
    expect(() => store.addEntry(entry, labels)).toThrow(/UNIQUE/)
  })

  it('[STO5] unknown counts are stored as nothing, never as zero', () => {
    const store = openStore(nodeSql(new DatabaseSync(':memory:')))
    store.addEntry(
      {
        requestId: 'r',
        dispatchId: null,
        kind: 'void',
        costNano: 0,
        shortNano: 0,
        counts: null,
        estimated: false,
        at: 1,
      },
      labels,
    )
    expect(store.entriesOf('r')).toMatchObject([{ kind: 'void', prompt_tokens: null, output_tokens: null }])
  })

  it('[STO6] open and overdue reservations are found by their state', () => {
    const store = openStore(nodeSql(new DatabaseSync(':memory:')))
    const booking = { requestId: 'a', keyId: 'k', state: 'reserved', boundNano: 5, openedAt: 1, expiresAt: 10 } as const
    store.putBooking(booking)
    store.putBooking({ ...booking, requestId: 'b', state: 'posted' })
    expect(store.openBookings()).toBe(1)
    expect(store.overdue(9, 5)).toEqual([])
    expect(store.overdue(10, 5)).toEqual([booking])
    store.putBooking({ ...booking, state: 'expired' })
    expect(store.openBookings()).toBe(0)
  })
})
