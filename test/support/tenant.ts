/** A tenant's account on Node's SQLite, with the same store, logic and hash chain as in the tenant object. */
import { DatabaseSync } from 'node:sqlite'
import type { Settlement } from '../../backends/wire/receipt.ts'
import { TenantAccount } from '../../src/tenant/account.ts'
import { chainStart } from '../../src/tenant/ledger/hash-chain.ts'
import { utcMonths } from '../../src/tenant/limits/calendar.ts'
import { keyBudgets, type Limits, newLimitState, noLimits, tenantBudgets } from '../../src/tenant/limits/limits.ts'
import type { Tenant } from '../../src/tenant/store/account-rows.ts'
import type { KeyRow } from '../../src/tenant/store/key-rows.ts'
import type { Sql, SqlRow } from '../../src/tenant/store/sql.ts'
import { openStore } from '../../src/tenant/store/store.ts'
import { TenantSettings } from '../../src/tenant/tenant-settings.ts'

export function nodeSql(db: DatabaseSync): Sql {
  const statements = new Map<string, ReturnType<DatabaseSync['prepare']>>()
  const prepare = (query: string) => {
    const known = statements.get(query)
    if (known) return known
    const statement = db.prepare(query)
    statements.set(query, statement)
    return statement
  }
  return {
    all: (query, ...values) => prepare(query).all(...values) as SqlRow[],
    run: (query, ...values) => void prepare(query).run(...values),
  }
}

/** Prices that make sums easy to check. */
export const testRates = { inputNano: 10, cachedNano: 1, outputNano: 100 }

export const testTenant = (limits: Limits = noLimits): Tenant => ({
  tenantId: 't',
  name: 'T',
  status: 'active',
  createdAt: 0,
  creditNano: 0,
  postedNano: 0,
  reservedNano: 0,
  chainSeq: 0,
  chainHash: chainStart,
  limits,
  state: newLimitState(limits, tenantBudgets, { at: 0, calendar: utcMonths }),
  settings: TenantSettings.parse({}),
  deletedAt: null,
  purgeAt: null,
})

export const testKey = (keyId = 'k', limits: Limits = noLimits): KeyRow => ({
  keyId,
  name: keyId,
  prefix: `tm_test_t_${keyId}`,
  secretHash: 'hash',
  previous: null,
  role: 'member',
  createdAt: 0,
  rotatedAt: null,
  expiresAt: null,
  revokedAt: null,
  lastUsedAt: null,
  models: null,
  class: null,
  allowedIps: null,
  limits,
  state: newLimitState(limits, keyBudgets, { at: 0, calendar: utcMonths }),
})

export interface TestBooks {
  books: TenantAccount
  db: DatabaseSync
  /** Runs one transaction, as the tenant object does. */
  transaction: <Result>(work: (books: TenantAccount) => Result) => Result
  /** Evicts the object: its memory is lost. */
  evict: () => void
}

export function openBooks(options: { creditNano: number; limits?: Limits; keys?: KeyRow[] }): TestBooks {
  const db = new DatabaseSync(':memory:')
  const sql = nodeSql(db)
  const test: TestBooks = {
    books: new TenantAccount(openStore(sql)),
    db,
    transaction(work) {
      db.exec('BEGIN')
      try {
        const result = work(test.books)
        test.books.write()
        db.exec('COMMIT')
        return result
      } catch (error) {
        db.exec('ROLLBACK')
        test.books.forget()
        throw error
      }
    },
    evict: () => {
      test.books = new TenantAccount(openStore(sql))
    },
  }
  test.transaction((books) => {
    books.putTenant(testTenant(options.limits))
    for (const key of options.keys ?? [testKey()]) books.putKey(key)
    books.store.rateCards.put('m', 0, testRates)
    books.credit(options.creditNano, 'opening credit', 0)
  })
  return test
}

export function testOrder(
  requestId: string,
  change: { keyId?: string; promptTokens?: number; outputTokens?: number } = {},
) {
  return {
    requestId,
    keyId: 'k',
    secretHash: 'hash',
    model: 'm',
    promptTokens: 10,
    outputTokens: 9,
    unknownEffort: null,
    ...change,
  }
}

export function testReceipt(requestId: string, change: Partial<Settlement> = {}): Settlement {
  const counts = { promptTokens: 10, cachedTokens: 0, outputTokens: 5, reasoningTokens: 0 }
  return {
    requestId,
    dispatchId: `${requestId}.1`,
    tenantId: 't',
    keyId: 'k',
    workerId: 'w',
    model: 'm',
    pool: 'latency',
    effort: 'none',
    outcome: 'finished',
    finishReason: 'stop',
    counts,
    costNano: 600,
    estimated: false,
    startedAt: 1,
    endedAt: 2,
    firstTokenMs: 1,
    engine: 'e',
    ...change,
  }
}
