/** Alerts of a tenant: what raises them, on Node's SQLite, and their deliveries to scripted endpoints. */
import { createHmac } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sealKey } from '../../../backends/wire/seal.ts'
import { Alarm } from '../../../src/tenant/alarm.ts'
import { alertTypes } from '../../../src/tenant/alerts/alert.ts'
import { type AlertCall, alertCall } from '../../../src/tenant/alerts/alert-calls.ts'
import { AlertDeliveries, alertAttemptsMax } from '../../../src/tenant/alerts/alert-deliveries.ts'
import { alertSchema } from '../../../src/tenant/alerts/alert-schema.ts'
import { watchExpiries } from '../../../src/tenant/alerts/watch.ts'
import { noLimits } from '../../../src/tenant/limits/limits.ts'
import type { Tenant } from '../../../src/tenant/store/account-rows.ts'
import { AlertRows } from '../../../src/tenant/store/alert-rows.ts'
import type { DeliveryFault, WebhookMessage } from '../../../src/tenant/webhooks/deliver.ts'
import { nodeSql, openBooks, type TestBooks, testKey, testOrder, testReceipt } from '../../support/tenant.ts'

const dayMs = 86_400_000

/** Posts 600 nano-dollars. */
function spend({ transaction }: TestBooks, requestId: string, at: number): void {
  transaction((books) => {
    const admitted = books.admit(testOrder(requestId), at)
    if (!admitted.ok) throw new Error(admitted.message)
    books.settle(testReceipt(requestId), at)
  })
}

function set({ transaction }: TestBooks, change: Partial<Tenant['settings']>, limits = noLimits): void {
  transaction((books) => {
    const tenant = books.tenant() as Tenant
    books.putTenant({ ...tenant, limits, settings: { ...tenant.settings, ...change } })
  })
}

const dayBudget = (day: number) => ({ ...noLimits, budgetNano: { total: null, day, month: null } })
const raised = ({ books }: TestBooks, type: string) =>
  books.store.alerts
    .page(Number.MAX_SAFE_INTEGER, 1_000)
    .reverse()
    .filter((alert) => alert.type === type)
const shares = (test: TestBooks) => raised(test, 'budget.reached').map(({ data }) => data.share)

describe('what raises an alert', () => {
  it('[ALR1] each share of a budget raises one alert in each window, also after refunds and an eviction', () => {
    const test = openBooks({ creditNano: 1e9, keys: [testKey('k', dayBudget(2_400))] })
    set(test, { alertBudgetShares: [1, 0.5, 0.5] })
    spend(test, 'a', 1_000)
    expect(shares(test)).toEqual([])
    spend(test, 'b', 2_000)
    expect(shares(test)).toEqual([0.5])
    test.transaction((books) => books.correct('b', -600, 'refund', 2_500))
    test.evict()
    spend(test, 'c', 3_000)
    expect(shares(test)).toEqual([0.5])
    test.transaction((books) => books.correct(null, 900, 'charge', 3_500))
    test.transaction((books) => books.correct('c', -600, 'refund', 3_600))
    expect(shares(test)).toEqual([0.5])
    spend(test, 'd', dayMs + 1)
    spend(test, 'e', dayMs + 2)
    spend(test, 'f', dayMs + 3)
    expect(shares(test)).toEqual([0.5, 0.5])
    // A larger budget begins again; one that is reached already raises its share at once.
    const key = test.books.key('k')
    if (!key) throw new Error('no key')
    test.transaction((books) => {
      books.putKey({ ...key, limits: dayBudget(1_800) })
      books.watch(dayMs + 4, 'k')
    })
    expect(shares(test)).toEqual([0.5, 0.5, 0.5, 1])
    expect(raised(test, 'budget.reached').at(-1)).toMatchObject({
      at: dayMs + 4,
      data: { tenantId: 't', scope: 'key', keyId: 'k', period: 'day', share: 1, budgetNano: 1_800, spentNano: 1_800 },
    })
  })

  it('[ALR1] under any sequence of requests, refunds, evictions and days, no share of a window has two alerts', () => {
    const steps = fc.array(fc.constantFrom('spend', 'refund', 'evict', 'day', 'tenant budget'), { maxLength: 40 })
    fc.assert(
      fc.property(steps, (sequence) => {
        const test = openBooks({ creditNano: 1e9, limits: dayBudget(3_000), keys: [testKey('k', dayBudget(1_800))] })
        let now = 1
        let budget = 3_000
        for (const [index, step] of sequence.entries()) {
          now += 1
          if (step === 'spend')
            test.transaction(
              (books) => books.admit(testOrder(`r${index}`), now).ok && books.settle(testReceipt(`r${index}`), now),
            )
          if (step === 'refund') test.transaction((books) => books.correct(`r${index - 1}`, -300, 'refund', now))
          if (step === 'evict') test.evict()
          if (step === 'day') now += dayMs
          if (step === 'tenant budget') {
            budget = 6_000 - budget
            set(test, {}, dayBudget(budget))
          }
        }
        const causes = raised(test, 'budget.reached').map(({ data }) =>
          JSON.stringify([data.scope, data.windowStart, data.budgetNano, data.share]),
        )
        expect(new Set(causes).size).toBe(causes.length)
        // Every alert was true, and a share that its key has reached now has one.
        const key = test.books.key('k')
        const window = key?.state.windows.day
        if (window && window.postedNano >= 1_800)
          expect(causes).toContain(JSON.stringify(['key', window.window, 1_800, 1]))
      }),
      { numRuns: 100 },
    )
  })

  it('[ALR2] credit that falls below an amount raises one alert, and a top-up begins again', () => {
    const test = openBooks({ creditNano: 10_000 })
    set(test, { alertCreditNano: [9_000, 5_000] })
    const lefts = () => raised(test, 'credit.low').map(({ data }) => [data.thresholdNano, data.leftNano])
    spend(test, 'a', 1)
    expect(lefts()).toEqual([])
    spend(test, 'b', 2)
    spend(test, 'c', 3)
    expect(lefts()).toEqual([[9_000, 8_800]])
    test.transaction((books) => books.correct(null, 4_000, 'charge', 4))
    expect(lefts().slice(1)).toEqual([[5_000, 4_200]])
    test.transaction((books) => books.credit(10_000, 'top-up', 5))
    test.evict()
    test.transaction((books) => books.reverse(9_800, 'reversed', 6))
    expect(lefts().slice(2)).toEqual([
      [9_000, 4_400],
      [5_000, 4_400],
    ])
  })

  it('[ALR3] a key that expires within the days of the setting raises one alert for that time', () => {
    const expiring = (keyId: string, expiresAt: number | null) => ({ ...testKey(keyId), expiresAt })
    const keys = [expiring('k', null), expiring('soon', 8 * dayMs), expiring('later', 30 * dayMs)]
    const test = openBooks({ creditNano: 1, keys: [...keys, { ...expiring('gone', 8 * dayMs), revokedAt: 1 }] })
    const watch = (now: number) =>
      test.transaction((books) => watchExpiries(books.store.alerts, books.tenant() as Tenant, now))
    const ids = () => raised(test, 'key.expiring').map(({ data }) => data.keyId)
    expect([watch(1), ids()]).toEqual([dayMs, []])
    expect([watch(dayMs), ids()]).toEqual([23 * dayMs, ['soon']])
    test.evict()
    expect([watch(2 * dayMs), ids()]).toEqual([23 * dayMs, ['soon']])
    const later = test.books.key('later')
    if (later) test.transaction((books) => books.putKey({ ...later, expiresAt: 3 * dayMs }))
    expect([watch(2 * dayMs), ids()]).toEqual([undefined, ['soon', 'later']])
    set(test, { alertKeyExpiryDays: 0 })
    expect(watch(2 * dayMs)).toBeUndefined()
  })

  it('[ALR4] an alert is stored in the transaction of its cause: both or neither', () => {
    const test = openBooks({ creditNano: 1e9, keys: [testKey('k', dayBudget(600))] })
    const failing = () =>
      test.transaction((books) => {
        books.admit(testOrder('a', { outputTokens: 5 }), 1)
        books.settle(testReceipt('a'), 1)
        books.write()
        throw new Error('disk full')
      })
    expect(failing).toThrow('disk full')
    expect(shares(test)).toEqual([])
    test.transaction((books) => {
      books.admit(testOrder('a', { outputTokens: 5 }), 1)
      books.settle(testReceipt('a'), 1)
    })
    expect(shares(test)).toEqual([0.8, 1])
  })
})

type Script = (message: WebhookMessage, now: number) => DeliveryFault | undefined

/** Endpoints that answer by a script, and a store with every kind of alert. */
async function openDeliveries(script: Script) {
  const db = new DatabaseSync(':memory:')
  for (const statement of alertSchema) db.exec(statement)
  db.exec('CREATE TABLE api_keys (key_id TEXT, name TEXT, revoked_at INTEGER, expires_at INTEGER)')
  const rows = new AlertRows(nodeSql(db), alertTypes)
  const clock = { now: 1_000_000 }
  const alarms: number[] = []
  const sent: (WebhookMessage & { at: number })[] = []
  const macKey = await sealKey(new Uint8Array(32))
  const deliveries = new AlertDeliveries({
    rows,
    transaction: (work) => work(),
    alarm: new Alarm((time) => alarms.push(time)),
    owner: () => 'acme',
    macKeys: async () => [macKey],
    send: async (message) => {
      sent.push({ ...message, at: clock.now })
      return script(message, clock.now)
    },
    now: () => clock.now,
  })
  const call = async <Call extends AlertCall>(made: Call) => {
    const answer = await deliveries.call(made)
    if (!answer.ok) throw new Error(answer.message)
    return answer.value
  }
  const create = (endpointId: string) =>
    call({ kind: 'create', endpointId, url: `https://${endpointId}.example.com`, types: null })
  const raise = (id: string) => rows.add({ id, type: 'worker.lost', at: clock.now, data: { workerId: id } })
  return { rows, clock, alarms, sent, deliveries, call, create, raise }
}

const fault = (text = 'the endpoint returned 500', retryAfterMs = 0, gone = false) => ({ text, retryAfterMs, gone })

describe('the delivery of alerts', () => {
  it('[ALR5] a failed delivery is repeated with the same id and bytes, later each time, as long as attempts remain', async () => {
    const test = await openDeliveries(() => fault())
    await test.create('a')
    test.raise('evt_1')
    let next: number | undefined = test.clock.now
    while (next !== undefined) {
      test.clock.now = next
      next = await test.deliveries.deliver()
    }
    expect(test.sent).toHaveLength(alertAttemptsMax)
    expect(new Set(test.sent.map(({ id, body }) => `${id} ${body}`)).size).toBe(1)
    const waits = test.sent.slice(1).map(({ at }, index) => at - (test.sent[index]?.at ?? 0))
    expect(waits.slice(0, 4)).toEqual([2_000, 4_000, 8_000, 16_000])
    expect(Math.max(...waits)).toBe(3_600_000)
    expect((await test.call({ kind: 'deliveries', endpointId: 'a', before: 9, limit: 9 })).answer).toMatchObject([
      { alertId: 'evt_1', state: 'failed', attempts: alertAttemptsMax, lastFault: 'the endpoint returned 500' },
    ])
    await test.call({ kind: 'redeliver', endpointId: 'a', alertId: 'evt_1' })
    await test.deliveries.deliver()
    expect(test.sent.at(-1)).toMatchObject({ id: 'evt_1', body: test.sent[0]?.body })
  })

  it('[ALR5] a retry-after prolongs the wait, and 410 disables the endpoint until it is changed', async () => {
    const answers = [fault('busy', 3_600_000), fault('the endpoint returned 410', 0, true), undefined]
    const test = await openDeliveries(() => answers.shift())
    await test.create('a')
    test.raise('evt_1')
    expect(await test.deliveries.deliver()).toBe(test.clock.now + 3_600_000)
    test.clock.now += 3_600_000
    expect(await test.deliveries.deliver()).toBeUndefined()
    test.raise('evt_2')
    expect(await test.deliveries.deliver()).toBeUndefined()
    expect(test.sent).toHaveLength(2)
    expect(test.rows.endpoint('a')?.disabledAt).toBe(test.clock.now)
    await expect(test.call({ kind: 'test', endpointId: 'a' })).rejects.toThrow('disabled')
    await test.call({ kind: 'update', endpointId: 'a' })
    test.raise('evt_3')
    await test.deliveries.deliver()
    expect(test.sent.map(({ id }) => id)).toEqual(['evt_1', 'evt_1', 'evt_3'])
  })

  it('[ALR6] an endpoint that fails delays no other, and an alert that it refuses delays its other alerts by a minute', async () => {
    const test = await openDeliveries(({ url, id }) => (url.includes('bad') && id === 'evt_1' ? fault() : undefined))
    await test.create('good')
    await test.create('bad')
    for (const id of ['evt_1', 'evt_2', 'evt_3']) test.raise(id)
    await test.deliveries.deliver()
    const ids = (name: string) => test.sent.filter(({ url }) => url.includes(name)).map(({ id }) => id)
    expect([ids('good'), ids('bad')]).toEqual([['evt_1', 'evt_2', 'evt_3'], ['evt_1']])
    test.clock.now += 60_000
    await test.deliveries.deliver()
    test.clock.now += 60_000
    await test.deliveries.deliver()
    expect(ids('bad').filter((id) => id !== 'evt_1')).toEqual(['evt_2', 'evt_3'])
  })

  it('[ALR6] a run ends after some seconds, and the rest is due at once', async () => {
    const test = await openDeliveries(() => {
      test.clock.now += 6_000
      return undefined
    })
    await test.create('slow')
    for (let index = 0; index < 9; index++) test.raise(`evt_${index}`)
    expect(await test.deliveries.deliver()).toBe(test.clock.now)
    expect(test.sent).toHaveLength(3)
  })

  it('[ALR7] after a rotation both secrets sign until the overlap ends, and each endpoint has its own', async () => {
    const test = await openDeliveries(() => undefined)
    const first = (await test.create('a')).secret
    expect((await test.create('b')).secret).not.toBe(first)
    const second = (await test.call({ kind: 'rotate', endpointId: 'a', overlapMs: 5_000 })).secret
    expect(second).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    expect(second).not.toBe(first)
    const shown = (secrets: WebhookMessage['secrets'] = []) =>
      secrets.map((secret) => `whsec_${Buffer.from(secret).toString('base64')}`)
    test.raise('evt_1')
    await test.deliveries.deliver()
    const toA = () => test.sent.filter(({ url }) => url.includes('//a.'))
    expect(shown(toA()[0]?.secrets)).toEqual([second, first])
    test.clock.now += 5_000
    test.raise('evt_2')
    await test.deliveries.deliver()
    expect(shown(toA()[1]?.secrets)).toEqual([second])
    // The signature that a receiver computes from the secret that it was shown.
    const { signedHeaders } = await import('../../../src/tenant/webhooks/event.ts')
    const { secrets = [], id = '', body = '' } = toA()[0] ?? {}
    const headers = await signedHeaders(secrets, id, 5_000, body)
    const signature = (secret = '') =>
      `v1,${createHmac('sha256', Buffer.from(secret.slice(6), 'base64'))
        .update(`${id}.5.${body}`)
        .digest('base64')}`
    expect(headers['webhook-signature']).toBe(`${signature(second)} ${signature(first)}`)
  })

  it('[ALR8] the numbers of endpoints, stored alerts and tests in delivery are bounded', async () => {
    const test = await openDeliveries(() => fault())
    for (const name of ['a', 'b', 'c', 'd', 'e']) await test.create(name)
    await expect(test.create('f')).rejects.toThrow('5 endpoints')
    await test.call({ kind: 'remove', endpointId: 'e' })
    await expect(test.call({ kind: 'update', endpointId: 'a', url: 'https://b.example.com' })).rejects.toThrow('url:')
    await test.call({ kind: 'test', endpointId: 'a' })
    await expect(test.call({ kind: 'test', endpointId: 'a' })).rejects.toThrow('is not delivered yet')
    for (let index = 0; index < 1_100; index++) test.raise(`evt_${index}`)
    expect(test.raise('evt_1099')).toBeUndefined()
    expect(test.rows.page(Number.MAX_SAFE_INTEGER, 2_000)).toHaveLength(1_000)
    expect(test.rows.deliveries('a', Number.MAX_SAFE_INTEGER, 2_000)).toHaveLength(1_000)
    expect(alertCall(test.rows, { kind: 'deliveries', endpointId: 'e', before: 9, limit: 9 }, 1)).toMatchObject({
      ok: false,
      code: 'not_found',
    })
  })
})
