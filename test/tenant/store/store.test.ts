/** The tenant's real SQL, on Node's SQLite. The same statements run in workerd in test/edge. */
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import { chainHash, chainStart } from '../../../src/tenant/ledger/hash-chain.ts'
import type { LedgerEntry } from '../../../src/tenant/ledger/ledger.ts'
import { schema } from '../../../src/tenant/store/schema.ts'
import { noLabels, openStore } from '../../../src/tenant/store/store.ts'
import { verifyBooks } from '../../../src/tenant/verify.ts'
import { nodeSql, openBooks, testKey, testOrder, testTenant } from '../../support/tenant.ts'

const open = () => openStore(nodeSql(new DatabaseSync(':memory:')))

const entry: LedgerEntry = {
  requestId: 'r',
  dispatchId: 'r.1',
  kind: 'post',
  costNano: 5,
  creditNano: 0,
  shortNano: 0,
  counts: { promptTokens: 1, cachedTokens: 0, outputTokens: 2, reasoningTokens: 1 },
  estimated: false,
  at: 1,
}

const reservation = {
  requestId: 'a',
  keyId: 'k',
  state: 'reserved',
  boundNano: 5,
  boundTokens: 9,
  openedAt: 1,
  expiresAt: 10,
} as const

describe('store', () => {
  it('[STO1] a row reads back as it was written, with amounts beyond 32 bits', () => {
    const store = open()
    expect(store.tenant()).toBeUndefined()
    store.putTenant(testTenant())
    store.putKey({ ...testKey(), models: ['m'], expiresAt: 5 })
    expect(store.tenant()).toEqual(testTenant())
    expect(store.keys()).toEqual([{ ...testKey(), models: ['m'], expiresAt: 5 }])
    expect(store.key('k')?.keyId).toBe('k')
    expect(store.key('other')).toBeUndefined()
    store.putBalances({ ...testTenant(), postedNano: 8_999_999_999_999_999, reservedNano: 1 })
    expect(store.tenant()).toMatchObject({ postedNano: 8_999_999_999_999_999, reservedNano: 1 })
  })

  it('[STO2] opening a store again applies no migration twice and keeps its data', () => {
    const db = new DatabaseSync(':memory:')
    openStore(nodeSql(db)).putTenant(testTenant())
    expect(openStore(nodeSql(db)).tenant()).toEqual(testTenant())
    expect(db.prepare('SELECT version FROM schema_version').all()).toEqual([{ version: schema.length }])
  })

  it('[STO3] the rate card in force at the given time is read', () => {
    const store = open()
    const rates = (n: number) => ({ inputNano: n, cachedNano: n, outputNano: n })
    store.putRates('m', 10, rates(1))
    store.putRates('m', 20, rates(2))
    expect([5, 10, 19, 20].map((now) => store.rates('m', now)?.inputNano)).toEqual([undefined, 1, 1, 2])
  })

  it('[STO4] a second entry for a dispatch is rejected', () => {
    const store = open()
    expect(store.hasEntry('r.1')).toBe(false)
    store.addEntry(1, 'h', entry, noLabels)
    expect(store.hasEntry('r.1')).toBe(true)
    expect(() => store.addEntry(2, 'h', entry, noLabels)).toThrow(/UNIQUE/)
  })

  it('[STO5] an entry reads back as it was written, and an unknown count is null, never zero', () => {
    const store = open()
    store.addEntry(1, 'h1', entry, { ...noLabels, keyId: 'k' })
    const closed = { ...entry, dispatchId: null, kind: 'void', counts: null } as const
    store.addEntry(2, 'h2', closed, noLabels)
    expect(store.entriesAfter(0, 10)).toEqual([
      { seq: 1, hash: 'h1', entry, labels: { ...noLabels, keyId: 'k' } },
      { seq: 2, hash: 'h2', entry: closed, labels: noLabels },
    ])
    expect(store.entriesOf('r')).toMatchObject([{ output_tokens: 2 }, { output_tokens: null }])
  })

  it('[STO6] open and overdue reservations are found by their state', () => {
    const store = open()
    store.putReservation(reservation)
    store.putReservation({ ...reservation, requestId: 'b', state: 'posted' })
    expect(store.openReservations()).toEqual([reservation])
    expect(store.nextDue()).toBe(10)
    expect(store.overdue(9, 5)).toEqual([])
    expect(store.overdue(10, 5)).toEqual([reservation])
    store.putReservation({ ...reservation, state: 'expired' })
    expect(store.openReservations()).toEqual([])
    expect(store.nextDue()).toBeUndefined()
  })

  it('[STO7] pruning removes the oldest entries, keeps the chain’s start and sums, and no open reservation', () => {
    const store = open()
    let hash = chainStart
    for (let seq = 1; seq <= 5; seq++) {
      const each = { ...entry, dispatchId: `r.${seq}`, at: seq * 10 }
      hash = chainHash(hash, seq, each)
      store.addEntry(seq, hash, each, noLabels)
    }
    store.putReservation({ ...reservation, requestId: 'r', state: 'posted' })
    store.putReservation(reservation)
    expect(store.prune(35, 2)).toBe(3)
    expect(store.pruned()).toMatchObject({ seq: 2, costNano: 10 })
    expect(store.reservation('r')).toBeUndefined()
    expect(store.prune(35, 2)).toBe(1)
    expect(store.pruned()).toMatchObject({ seq: 3, costNano: 15 })
    expect(store.prune(35, 2)).toBe(0)
    expect(store.entriesAfter(3, 10).map((row) => row.seq)).toEqual([4, 5])
    expect(store.openReservations().length).toBe(1)
  })

  it('[STO8] usage adds up by hour, key, model, pool, effort and outcome', () => {
    const store = open()
    const labels = { ...noLabels, keyId: 'k', model: 'm', pool: 'latency', effort: 'none', outcome: 'finished' }
    store.addUsage(0, labels, entry)
    store.addUsage(0, labels, entry)
    store.addUsage(0, { ...labels, effort: 'high' }, entry)
    store.addUsage(3_600_000, labels, entry)
    const rows = store.sql.all(
      'SELECT hour, effort, requests, output_tokens, cost_nano FROM usage_hours ORDER BY hour, effort',
    )
    expect(rows.map((row) => Object.values(row))).toEqual([
      [0, 'high', 1, 2, 5],
      [0, 'none', 2, 4, 10],
      [3_600_000, 'none', 1, 2, 5],
    ])
  })

  it('[STO9] an admission writes one row that carries the balances and the key’s state', () => {
    const test = openBooks({ creditNano: 100_000, keys: [testKey('k'), testKey('l')] })
    const rows = () => test.db.prepare('SELECT count(*) AS n FROM reservations').get()
    const own = () => test.db.prepare('SELECT reserved_nano, state FROM account').get()
    const before = own()
    test.transaction((books) => {
      books.admit(testOrder('a'), 1)
      books.admit(testOrder('b', { keyId: 'l' }), 2)
      books.admit(testOrder('c'), 3)
    })
    expect(rows()).toEqual({ n: 3 })
    expect(own()).toEqual(before)
    const states = () => [test.books.tenant(), test.books.key('k'), test.books.key('l')]
    const remembered = states()
    test.evict()
    expect(states()).toEqual(remembered)
    expect(test.books.tenant()).toMatchObject({ reservedNano: 3_000, state: { running: 3 } })
    expect(test.books.key('k')).toMatchObject({ lastUsedAt: 3, state: { running: 2 } })
    expect(verifyBooks(test.books.store).faults).toEqual([])
  })

  it('[STO10] closing reservations in any order leaves the state that was in memory', () => {
    for (const order of [
      ['a', 'b', 'c'],
      ['c', 'b', 'a'],
      ['b', 'c', 'a'],
    ]) {
      const test = openBooks({ creditNano: 100_000, keys: [testKey('k'), testKey('l')] })
      test.transaction((books) => books.admit(testOrder('a'), 1))
      test.transaction((books) => books.admit(testOrder('b', { keyId: 'l' }), 2))
      test.transaction((books) => books.admit(testOrder('c'), 3))
      for (const [index, id] of order.entries()) {
        test.transaction((books) => books.close(id, 'void', 4))
        const remembered = [test.books.tenant(), test.books.key('k'), test.books.key('l')]
        test.evict()
        expect([test.books.tenant(), test.books.key('k'), test.books.key('l')]).toEqual(remembered)
        expect(test.books.tenant()?.state.running).toBe(2 - index)
      }
      // A changed key is newer than the state that its open reservation carries.
      test.transaction((books) => books.admit(testOrder('d'), 5))
      const key = test.books.key('k')
      test.transaction((books) => books.putKey({ ...testKey('k'), ...key, revokedAt: 6, lastUsedAt: 7 }))
      test.evict()
      expect(test.books.key('k')).toMatchObject({ revokedAt: 6, lastUsedAt: 7, state: { running: 1 } })
    }
  })

  it('[STO11] an older store’s open reservations stay open, and its account unchanged', () => {
    const db = new DatabaseSync(':memory:')
    const sql = nodeSql(db)
    db.exec('CREATE TABLE schema_version (version INTEGER NOT NULL)')
    const older = schema.indexOf('DROP INDEX open_bookings')
    for (const statement of schema.slice(0, older)) db.exec(statement)
    db.exec(`INSERT INTO schema_version VALUES (${older})`)
    db.exec(`INSERT INTO bookings VALUES ('r1', 'k', 'reserved', 5, 9, 1, 10), ('r2', 'k', 'posted', 5, 9, 1, 10)`)
    const store = openStore(sql)
    expect(store.openReservations()).toMatchObject([{ requestId: 'r1', boundNano: 5, state: 'reserved' }])
    expect(store.reservation('r2')?.state).toBe('posted')
    expect(db.prepare('SELECT count(*) AS n FROM bookings').get()).toEqual({ n: 1 })
  })
})
