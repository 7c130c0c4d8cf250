/**
 * One sum of money. Seeded worlds of requests, refunds, credits, reversals, retries, prunings and changes of the
 * calendar; after each, the ledger, the usage report, the meter events, the budgets, the statements and the list of
 * requests must agree to the nano-dollar. `MONEY_WORLDS=10000` sets the number of worlds.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { postMoney } from '../../src/tenant/credits.ts'
import type { entryKinds } from '../../src/tenant/ledger/ledger.ts'
import { windowStart } from '../../src/tenant/limits/calendar.ts'
import { keyBudgets, type Limits, noLimits } from '../../src/tenant/limits/limits.ts'
import { changeTenant } from '../../src/tenant/settings.ts'
import { listStatements, showStatement } from '../../src/tenant/statements/read-statements.ts'
import { statementCsv } from '../../src/tenant/statements/statement-csv.ts'
import type { StoredEntry } from '../../src/tenant/store/entry-rows.ts'
import { verifyBooks } from '../../src/tenant/verify.ts'
import { meterEvent } from '../../src/tenant/webhooks/event.ts'
import { openBooks, type TestBooks, testKey, testOrder, testReceipt } from '../support/tenant.ts'

const hourMs = 3_600_000
const start = Date.UTC(2026, 2, 20)
const operator = { kind: 'operator' } as const
const zones = ['UTC', 'Asia/Kathmandu', 'America/New_York', 'Australia/Lord_Howe', 'Pacific/Apia']
const keys = ['k', 'l']
const users = [null, 'ada', 'bob']
const budget: Limits = { ...noLimits, budgetNano: { total: 40_000, day: 9_000, month: 25_000 } }
const tenantBudget: Limits = { ...noLimits, budgetNano: { total: null, day: 15_000, month: 45_000 } }

const kinds = [
  'ask',
  'ask',
  'settle',
  'settle',
  'close',
  'wait',
  'credit',
  'reverse',
  'correct',
  'prune',
  'evict',
] as const
const step = fc.record({
  kind: fc.constantFrom(...kinds, 'calendar' as const),
  request: fc.nat(4),
  dispatch: fc.integer({ min: 1, max: 3 }),
  amount: fc.integer({ min: -1_500, max: 1_500 }),
  hours: fc.nat(400),
  pick: fc.nat(59),
})
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never

/** The world's own record: every entry as it was added, with the admission that it belongs to. */
interface World {
  test: TestBooks
  now: number
  serial: number
  entries: (StoredEntry & { admittedAt: number | null; user: string | null })[]
  admitted: Map<string, { at: number; user: string | null }>
  calendarChanged: boolean
}

function act(world: World, { kind, request, dispatch, amount, hours, pick }: Step): void {
  const { test } = world
  const ids = [...world.admitted.keys()]
  const requestId = ids[ids.length - 1 - (request % Math.max(1, ids.length))] ?? 'none'
  const post = (order: object) =>
    test.transaction((books) =>
      postMoney(books, { requestId: null, creditId: null, note: `=${pick}`, ...order } as never, world.now),
    )
  switch (kind) {
    case 'ask': {
      const id = `req_${(world.now + world.serial).toString(16).padStart(12, '0')}${world.serial++}`
      const user = users[pick % users.length] ?? null
      const order = {
        ...testOrder(id, { keyId: keys[pick % keys.length] ?? 'k' }),
        labels: { endUser: user, tags: [] },
      }
      if (test.transaction((books) => books.admit(order, world.now)).ok)
        world.admitted.set(id, { at: test.books.store.reservations.find(id)?.openedAt ?? 0, user })
      return
    }
    case 'settle': {
      const outcome = (['finished', 'finished', 'aborted', 'failed'] as const)[pick % 4] ?? 'finished'
      const keyId = test.books.store.reservations.find(requestId)?.keyId ?? 'k'
      const costNano = outcome === 'failed' ? 0 : Math.abs(amount)
      const receipt = { dispatchId: `${requestId}.${dispatch}`, keyId, outcome, costNano, estimated: pick > 50 }
      test.transaction((books) => books.settle(testReceipt(requestId, receipt), world.now))
      return
    }
    case 'close':
      test.transaction((books) => books.close(requestId, pick % 2 ? 'void' : 'expire', world.now))
      return
    case 'credit':
      post({ kind: 'credit', orderId: `c${pick % 4}`, amountNano: Math.abs(amount) + 1 })
      return
    case 'reverse':
      post({ kind: 'reversal', orderId: `r${request}`, creditId: `c${pick % 4}`, amountNano: Math.abs(amount) + 1 })
      return
    case 'correct':
      post({
        ...{ kind: 'correction', orderId: `x${request}.${dispatch}`, amountNano: amount },
        requestId: pick % 3 === 0 ? null : requestId,
      })
      return
    case 'prune':
      test.transaction((books) => books.store.pruned.prune(world.now - 5 * 24 * hourMs, 5))
      return
    case 'evict':
      test.evict()
      return
    case 'calendar': {
      const settings = { timeZone: zones[pick % zones.length] ?? 'UTC', anchorDay: 1 + (hours % 28) }
      world.calendarChanged = true
      test.transaction((books) => changeTenant(books, { settings }, world.now))
      return
    }
    default:
      world.now += hours * hourMs
  }
}

/** Notes the entries that a step added, before any is pruned. */
function note(world: World): void {
  const last = world.entries.at(-1)?.seq ?? 0
  for (const stored of world.test.books.store.entries.after(last, 1_000)) {
    const admitted = world.admitted.get(stored.entry.requestId ?? '')
    // A late receipt counts in the budgets of its own time.
    const admittedAt = stored.entry.kind === 'late' ? stored.entry.at : (admitted?.at ?? null)
    world.entries.push({ ...stored, admittedAt, user: admitted?.user ?? null })
  }
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

function agree(world: World): void {
  const { test, entries, now } = world
  const { store } = test.books
  const tenant = test.books.tenant()
  if (!tenant) throw new Error('no tenant')
  const cost = sum(entries.map(({ entry }) => entry.costNano))
  expect(tenant.postedNano, 'ledger').toBe(cost)
  expect(tenant.creditNano, 'credit').toBe(sum(entries.map(({ entry }) => entry.creditNano)))
  expect(tenant.postedNano + tenant.reservedNano).toBeLessThanOrEqual(tenant.creditNano)
  expect(verifyBooks(store).faults).toEqual([])
  // Meter events
  const meter = { eventName: 'e', customerId: 'c' }
  const events = entries.map((row) => meterEvent(row, meter, 't')).filter((event) => event !== undefined)
  expect(sum(events.map(({ payload }) => Number(payload.cost_nano))), 'meter events').toBe(cost)
  expect(new Set(events.map(({ identifier }) => identifier)).size).toBe(events.length)
  // Usage, by key and by end user
  const all = { from: 0, to: now + hourMs }
  const report = (groupBy: ('key' | 'user')[], label: 'user' | null) =>
    store.usage.report({ ...all, buckets: [all], groupBy, where: {}, label }) ?? []
  for (const row of report(['key'], null)) {
    const own = entries.filter(({ labels, entry }) => (labels.keyId ?? '') === row.key && counted(entry.kind))
    expect(row.cost_nano, `usage of ${row.key}`).toBe(sum(own.map(({ entry }) => entry.costNano)))
  }
  expect(sum(report([], null).map((row) => row.cost_nano)), 'usage').toBe(cost)
  for (const user of users.filter((each) => each !== null)) {
    const own = sum(entries.filter((each) => each.user === user).map(({ entry }) => entry.costNano))
    expect(report(['user'], 'user').find((row) => row.user === user)?.cost_nano ?? 0, `usage of ${user}`).toBe(own)
  }
  // Budgets: exactly the cost of the requests that were admitted in their window; never less after a change of calendar.
  for (const limited of [tenant, ...keys.flatMap((keyId) => test.books.key(keyId) ?? [])]) {
    for (const kind of keyBudgets) {
      const window = limited.state.windows[kind]
      if (!window) continue
      const inside = entries.filter(
        ({ admittedAt, labels }) =>
          admittedAt !== null &&
          (!('keyId' in limited) || labels.keyId === limited.keyId) &&
          windowStart(kind, { at: admittedAt, calendar: tenant.settings }) >= window.window,
      )
      const spent = sum(inside.map(({ entry }) => entry.costNano))
      if (world.calendarChanged && kind !== 'total')
        expect(window.postedNano, `budget ${kind}`).toBeGreaterThanOrEqual(spent)
      else expect(window.postedNano, `budget ${kind}`).toBe(spent)
      const max = limited.limits.budgetNano[kind]
      if (max !== null && !world.calendarChanged) expect(window.postedNano).toBeLessThanOrEqual(max + overBy(entries))
    }
  }
  // Requests, one by one
  const { data } = store.requests.page({ before: '', limit: 1_000, filter: {} })
  for (const { requestId, costNano, outcome } of data) {
    // The cost of a running request is not known.
    if (outcome === 'running') continue
    const own = sum(entries.filter(({ entry }) => entry.requestId === requestId).map(({ entry }) => entry.costNano))
    expect(costNano ?? 0, requestId).toBe(own)
    expect(own, 'a refund is at most what was charged').toBeGreaterThanOrEqual(0)
  }
  statementsAgree(world, tenant.creditNano - cost)
}

/** An operator's charge may exceed a budget: it is checked against the credit only. */
function overBy(entries: World['entries']): number {
  return sum(entries.map(({ entry }) => (entry.kind === 'correction' ? Math.max(0, entry.costNano) : 0)))
}

const counted = (kind: (typeof entryKinds)[number]) => ['post', 'late', 'waste', 'correction'].includes(kind)

function statementsAgree({ test, now, entries }: World, balance: number): void {
  const listed = listStatements(test.books, operator, now)
  if (!listed.ok) throw new Error(listed.message)
  const [newest] = listed.value
  expect(newest?.closingBalanceNano, 'newest closing balance').toBe(balance)
  for (const [index, each] of listed.value.entries()) {
    const shown = showStatement(test.books, operator, each.period, now)
    if (!shown.ok) throw new Error(shown.message)
    const { usage, entries: money, ...rest } = shown.value
    expect(rest).toMatchObject(each)
    const changes = [...money, ...usage].map(({ amountNano }) => amountNano)
    expect(each.openingBalanceNano + sum(changes), each.period).toBe(each.closingBalanceNano)
    const { creditsNano, reversalsNano, chargesNano, refundsNano, usageNano } = each
    expect(creditsNano + reversalsNano + chargesNano + refundsNano + usageNano).toBe(sum(changes))
    expect(each.openingBalanceNano).toBe(listed.value[index + 1]?.closingBalanceNano ?? 0)
    const inside = entries.filter(({ entry }) => entry.at >= each.from && entry.at < each.to)
    expect(sum(changes)).toBe(sum(inside.map(({ entry }) => entry.creditNano - entry.costNano)))
    const lines = statementCsv(shown.value)
      .trim()
      .split('\r\n')
      .slice(1)
      .map((line) => line.split(','))
    expect(sum(lines.slice(0, -1).map((cells) => Number(cells.at(-2))))).toBe(each.closingBalanceNano)
    for (const cell of lines.flat()) expect(cell).not.toMatch(/^[=+@]/)
  }
}

describe('one sum of money', () => {
  it('[MON1] ledger, usage, meter events, budgets, statements and requests agree in every world', () => {
    const steps = fc.array(step, { minLength: 5, maxLength: 60 })
    fc.assert(
      fc.property(steps, (all) => {
        const test = openBooks({
          creditNano: 0,
          limits: tenantBudget,
          keys: keys.map((keyId) => testKey(keyId, budget)),
        })
        const world: World = { test, now: start, serial: 0, entries: [], admitted: new Map(), calendarChanged: false }
        test.transaction((books) => {
          const tenant = books.tenant()
          if (tenant) books.putTenant({ ...tenant, createdAt: start })
        })
        test.transaction((books) => books.credit(60_000, 'opening', start))
        note(world)
        for (const each of all) {
          if (each.kind === 'prune') note(world)
          act(world, each)
          note(world)
        }
        agree(world)
      }),
      { numRuns: Number(process.env.MONEY_WORLDS ?? 200) },
    )
  })
})
