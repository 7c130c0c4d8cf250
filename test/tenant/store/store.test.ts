/** The tenant's real SQL, on Node's SQLite. The same statements run in workerd in test/edge. */
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import { chainHash, chainStart } from '../../../src/tenant/ledger/hash-chain.ts'
import type { LedgerEntry } from '../../../src/tenant/ledger/ledger.ts'
import type { RequestFilter } from '../../../src/tenant/request-filter.ts'
import { noLabels } from '../../../src/tenant/store/entry-rows.ts'
import { schema } from '../../../src/tenant/store/schema.ts'
import { openStore } from '../../../src/tenant/store/store.ts'
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
    expect(store.account.find()).toBeUndefined()
    store.account.put(testTenant())
    store.keys.put({ ...testKey(), models: ['m'], expiresAt: 5 })
    expect(store.account.find()).toEqual(testTenant())
    expect(store.keys.all()).toEqual([{ ...testKey(), models: ['m'], expiresAt: 5 }])
    expect(store.keys.find('k')?.keyId).toBe('k')
    expect(store.keys.find('other')).toBeUndefined()
    store.account.putBalances({ ...testTenant(), postedNano: 8_999_999_999_999_999, reservedNano: 1 })
    expect(store.account.find()).toMatchObject({ postedNano: 8_999_999_999_999_999, reservedNano: 1 })
  })

  it('[STO2] opening a store again applies no migration twice and keeps its data', () => {
    const db = new DatabaseSync(':memory:')
    openStore(nodeSql(db)).account.put(testTenant())
    expect(openStore(nodeSql(db)).account.find()).toEqual(testTenant())
    expect(db.prepare('SELECT version FROM schema_version').all()).toEqual([{ version: schema.length }])
  })

  it('[STO3] the rate card in force at the given time is read', () => {
    const store = open()
    const rates = (n: number) => ({ inputNano: n, cachedNano: n, outputNano: n })
    store.rateCards.put('m', 10, rates(1))
    store.rateCards.put('m', 20, rates(2))
    expect([5, 10, 19, 20].map((now) => store.rateCards.ratesAt('m', now)?.inputNano)).toEqual([undefined, 1, 1, 2])
  })

  it('[STO4] a second entry for a dispatch is rejected', () => {
    const store = open()
    expect(store.entries.has('r.1')).toBe(false)
    store.entries.add({ seq: 1, hash: 'h', entry, labels: noLabels })
    expect(store.entries.has('r.1')).toBe(true)
    expect(() => store.entries.add({ seq: 2, hash: 'h', entry, labels: noLabels })).toThrow(/UNIQUE/)
  })

  it('[STO5] an entry reads back as it was written, and an unknown count is null, never zero', () => {
    const store = open()
    store.entries.add({ seq: 1, hash: 'h1', entry, labels: { ...noLabels, keyId: 'k' } })
    const closed = { ...entry, dispatchId: null, kind: 'void', counts: null } as const
    store.entries.add({ seq: 2, hash: 'h2', entry: closed, labels: noLabels })
    expect(store.entries.after(0, 10)).toEqual([
      { seq: 1, hash: 'h1', entry, labels: { ...noLabels, keyId: 'k' } },
      { seq: 2, hash: 'h2', entry: closed, labels: noLabels },
    ])
    expect(store.entries.ofRequest('r')).toMatchObject([{ output_tokens: 2 }, { output_tokens: null }])
  })

  it('[STO6] open and overdue reservations are found by their state', () => {
    const store = open()
    store.reservations.put(reservation)
    store.reservations.put({ ...reservation, requestId: 'b', state: 'posted' })
    expect(store.reservations.open()).toEqual([reservation])
    expect(store.reservations.nextDue()).toBe(10)
    expect(store.reservations.overdue(9, 5)).toEqual([])
    expect(store.reservations.overdue(10, 5)).toEqual([reservation])
    store.reservations.put({ ...reservation, state: 'expired' })
    expect(store.reservations.open()).toEqual([])
    expect(store.reservations.nextDue()).toBeUndefined()
  })

  it('[STO7] pruning removes the oldest entries, keeps the chain’s start and sums, and no open reservation', () => {
    const store = open()
    let hash = chainStart
    for (let seq = 1; seq <= 5; seq++) {
      const each = { ...entry, dispatchId: `r.${seq}`, at: seq * 10 }
      hash = chainHash(hash, seq, each)
      store.entries.add({ seq, hash, entry: each, labels: noLabels })
    }
    store.reservations.put({ ...reservation, requestId: 'r', state: 'posted' })
    store.reservations.put(reservation)
    expect(store.pruned.prune(35, 2)).toBe(3)
    expect(store.pruned.find()).toMatchObject({ seq: 2, costNano: 10 })
    expect(store.reservations.find('r')).toBeUndefined()
    expect(store.pruned.prune(35, 2)).toBe(1)
    expect(store.pruned.find()).toMatchObject({ seq: 3, costNano: 15 })
    expect(store.pruned.prune(35, 2)).toBe(0)
    expect(store.entries.after(3, 10).map((row) => row.seq)).toEqual([4, 5])
    expect(store.reservations.open().length).toBe(1)
  })

  it('[STO8] usage adds up by quarter hour, key, model, pool, effort and outcome', () => {
    const db = new DatabaseSync(':memory:')
    const store = openStore(nodeSql(db))
    const labels = { ...noLabels, keyId: 'k', model: 'm', pool: 'latency', effort: 'none', outcome: 'finished' }
    store.usage.add(labels, { ...entry, at: 0 })
    store.usage.add(labels, { ...entry, at: 0 })
    store.usage.add({ ...labels, effort: 'high' }, { ...entry, at: 0 })
    store.usage.add(labels, { ...entry, at: 899_999 })
    store.usage.add(labels, { ...entry, at: 900_000 })
    const rows = db
      .prepare(
        'SELECT quarter, effort, requests, output_tokens, cost_nano FROM usage_quarters ORDER BY quarter, effort',
      )
      .all()
    expect(rows.map((row) => Object.values(row))).toEqual([
      [0, 'high', 1, 2, 5],
      [0, 'none', 3, 6, 15],
      [900_000, 'none', 1, 2, 5],
    ])
  })

  it('[STO12] the usage of an older store stays readable in the hours in which it was added', () => {
    const db = new DatabaseSync(':memory:')
    const sql = nodeSql(db)
    const renamed = schema.findIndex((statement) => statement.includes('RENAME TO usage_quarters'))
    for (const statement of schema.slice(0, renamed)) sql.run(statement)
    sql.run('CREATE TABLE schema_version (version INTEGER NOT NULL)')
    sql.run('INSERT INTO schema_version VALUES (?)', renamed)
    sql.run("INSERT INTO usage_hours VALUES (3600000, 'k', 'm', 'latency', 'none', 'finished', 2, 3, 1, 4, 0, 50, 1)")
    const { usage } = openStore(sql)
    const period = { from: 3_600_000, to: 7_200_000 }
    expect(usage.report({ ...period, buckets: [period], groupBy: ['key'], where: {}, label: null })).toMatchObject([
      { start: period.from, end: period.to, key: 'k', requests: 2, cost_nano: 50, estimated_requests: 1 },
    ])
  })

  it('[REQ5] a page of any number of requests reads a bounded range of the primary key, and pages miss nothing', () => {
    const db = new DatabaseSync(':memory:')
    const plans: string[] = []
    const sql = nodeSql(db)
    const store = openStore({
      ...sql,
      all: (query, ...values) => {
        if (/bookings.*LIMIT/s.test(query)) {
          const plan = db.prepare(`EXPLAIN QUERY PLAN ${query}`).all(...values)
          plans.push(...plan.map(({ detail }) => String(detail)))
        }
        return sql.all(query, ...values)
      },
    })
    const rows = Number(process.env.REQUEST_ROWS ?? 100_000)
    const id = (index: number) => `req_${(1_000 + index).toString(16).padStart(12, '0')}`
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows + 999})
      INSERT INTO bookings (request_id, key_id, state, bound_nano, bound_tokens, opened_at, expires_at, model, outcome, pool, cost_nano, end_user)
      SELECT 'req_' || printf('%012x', i), 'k' || (i % 7), 'posted', 9, 9, i, i, 'm', 'finished', 'latency', i, 'ada' FROM n`)
    db.exec(`INSERT INTO request_labels SELECT 'user', 'ada', request_id FROM bookings`)
    const pages = (filter: RequestFilter) => {
      const seen: string[] = []
      let calls = 0
      let longest = 0
      for (let before: string | null = ''; before !== null && calls < 500; calls++) {
        const started = performance.now()
        const page = store.requests.page({ before, limit: 100, filter })
        longest = Math.max(longest, performance.now() - started)
        seen.push(...page.data.map(({ requestId }) => requestId))
        before = page.next
      }
      return { seen, calls, longest }
    }
    // The oldest of all: every row lies before it.
    const rare = pages({ costNanoMax: 1_001, key: ['k6', 'k0'] })
    expect(rare.seen).toEqual(
      [id(1), id(0)].filter((each) => ['k6', 'k0'].includes(`k${Number.parseInt(each.slice(4), 16) % 7}`)),
    )
    expect(rare.calls).toBe(rows / 5_000 + 1)
    const labelled = pages({ user: 'ada', costNanoMax: 1_000 })
    expect(labelled.seen).toEqual([id(0)])
    const recent = pages({ from: rows + 900, to: rows + 950 })
    expect(recent.seen).toEqual(Array.from({ length: 50 }, (_, index) => id(rows - 51 - index)))
    expect(plans.filter((plan) => /^SCAN/.test(plan) && !/SCAN \(subquery|CO-ROUTINE/.test(plan))).toEqual([])
    expect(new Set(plans.filter((plan) => /bookings|request_labels/.test(plan)))).toEqual(
      new Set([
        'SEARCH bookings USING PRIMARY KEY (request_id>? AND request_id<?)',
        'SEARCH request_labels USING PRIMARY KEY (label=? AND value=? AND request_id>? AND request_id<?)',
        'SEARCH bookings USING PRIMARY KEY (request_id=?)',
      ]),
    )
    if (process.env.SHOW_PLANS) console.log([...new Set(plans)], rare, labelled.longest, recent.longest)
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
    expect(store.reservations.open()).toMatchObject([{ requestId: 'r1', boundNano: 5, state: 'reserved' }])
    expect(store.reservations.find('r2')?.state).toBe('posted')
    expect(db.prepare('SELECT count(*) AS n FROM bookings').get()).toEqual({ n: 1 })
  })
})
