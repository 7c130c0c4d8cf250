/** Usage events: their content, their batches, and the state after a receiver's response. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sealKey } from '../../backends/wire/seal.ts'
import type { Tenant } from '../../src/tenant/store/account-rows.ts'
import type { WebhookCursor } from '../../src/tenant/store/webhook-rows.ts'
import {
  meterAfter,
  meterBatchMax,
  meterRecorded,
  nextMeterBatch,
  replayMeter,
} from '../../src/tenant/webhooks/cursor.ts'
import {
  formatWebhookSecret,
  meterRetryMs,
  meterSecrets,
  retryAfterMsOf,
  signedHeaders,
  webhookUrlFault,
} from '../../src/tenant/webhooks/event.ts'
import { openBooks, type TestBooks, testOrder, testReceipt } from '../support/tenant.ts'

const idle: WebhookCursor = {
  url: 'https://meter.example.com/in',
  eventName: 'tramontane.usage',
  customerId: 'cus_1',
  secretVersion: 1,
  sentSeq: 0,
  batchSeq: null,
  attempts: 0,
  nextAt: 0,
  lastFault: null,
}

const fault = { text: 'the endpoint returned 500', retryAfterMs: 0, gone: false }

const tenantOf = (test: TestBooks): Tenant => test.books.tenant() as Tenant

function spend(test: TestBooks, requestId: string, change: Parameters<typeof testReceipt>[1] = {}): void {
  test.transaction((books) => {
    books.admit(testOrder(requestId), 1_000)
    books.settle(testReceipt(requestId, change), 2_500)
  })
}

describe('webhook events', () => {
  it('[MTR1] a billed entry becomes an event with its dispatch id, whole seconds and strings', () => {
    const test = openBooks({ creditNano: 1e9 })
    spend(test, 'r1')
    spend(test, 'r2', { outcome: 'failed' })
    test.transaction((books) => {
      books.close('r2', 'void', 3_000)
      books.correct('r1', -100, 'goodwill', 4_000)
    })
    const { batch } = nextMeterBatch(test.books.store.entries, tenantOf(test), idle)
    expect(batch?.events).toEqual([
      {
        identifier: 'r1.1',
        event_name: 'tramontane.usage',
        timestamp: 2,
        payload: {
          customer_id: 'cus_1',
          kind: 'post',
          request_id: 'r1',
          key_id: 'k',
          model: 'm',
          pool: 'latency',
          effort: 'none',
          outcome: 'finished',
          prompt_tokens: '10',
          cached_tokens: '0',
          output_tokens: '5',
          reasoning_tokens: '0',
          cost_nano: '600',
          estimated: 'false',
        },
      },
      {
        identifier: 't.correction.5',
        event_name: 'tramontane.usage',
        timestamp: 4,
        payload: {
          customer_id: 'cus_1',
          kind: 'correction',
          request_id: 'r1',
          key_id: 'k',
          model: 'm',
          pool: 'latency',
          effort: 'none',
          outcome: 'correction',
          cost_nano: '-100',
          estimated: 'false',
          note: 'goodwill',
        },
      },
    ])
  })

  it('[MTR2] in any sequence of failures, a receiver that counts each identifier once has the ledger’s sum', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('spend', 'waste', 'taken', 'lost', 'refused'), { maxLength: 60 }),
        (steps) => {
          const test = openBooks({ creditNano: 1e9 })
          const seen = new Map<string, number>()
          const bodies = new Map<string, string>()
          let meter = idle
          let requests = 0
          let tried: string | undefined
          const send = (outcome: string) => {
            const { batch, skipped } = nextMeterBatch(test.books.store.entries, tenantOf(test), meter)
            if (!batch) {
              meter = skipped
              return false
            }
            // A retried batch is identical, even if entries were added meanwhile.
            expect(tried ?? batch.id).toBe(batch.id)
            tried = outcome === 'taken' ? undefined : batch.id
            const body = JSON.stringify(batch.events)
            expect(bodies.get(batch.id) ?? body).toBe(body)
            bodies.set(batch.id, body)
            if (outcome !== 'refused') {
              for (const event of batch.events) seen.set(event.identifier, Number(event.payload.cost_nano))
            }
            meter = meterAfter(batch.meter, outcome === 'taken' ? undefined : fault, 0)
            return true
          }
          for (const step of steps) {
            if (step === 'spend') spend(test, `r${++requests}`)
            else if (step === 'waste') spend(test, `r${++requests}`, { outcome: 'failed' })
            else send(step)
          }
          while (send('taken'));
          expect([...seen.values()].reduce((sum, cost) => sum + cost, 0)).toBe(tenantOf(test).postedNano)
          expect(meter).toMatchObject({ sentSeq: tenantOf(test).chainSeq, batchSeq: null, attempts: 0 })
        },
      ),
      { numRuns: 200 },
    )
  })

  it('[MTR3] batches have a maximum size and keep the order, and unbilled entries are skipped', () => {
    const test = openBooks({ creditNano: 1e9 })
    for (let index = 0; index < meterBatchMax; index++) spend(test, `w${index}`, { outcome: 'failed' })
    for (let index = 0; index < meterBatchMax + 1; index++) spend(test, `r${index}`)
    const first = nextMeterBatch(test.books.store.entries, tenantOf(test), idle).batch
    expect(first?.events.length).toBeLessThanOrEqual(meterBatchMax)
    const second = nextMeterBatch(
      test.books.store.entries,
      tenantOf(test),
      meterAfter(first?.meter ?? idle, undefined, 0),
    ).batch
    const all = [...(first?.events ?? []), ...(second?.events ?? [])].map((event) => event.identifier)
    expect(all).toEqual(Array.from({ length: all.length }, (_, index) => `r${index}.1`))
    expect(all.length).toBe(meterBatchMax + 1)
  })

  it('[MTR4] the wait doubles with each failure up to an hour, and a success resets it', () => {
    expect([1, 2, 3, 11, 12, 99].map(meterRetryMs)).toEqual([2_000, 4_000, 8_000, 2_048_000, 3_600_000, 3_600_000])
    const failed = meterAfter({ ...idle, batchSeq: 7, attempts: 2 }, fault, 1_000)
    expect(failed).toMatchObject({
      sentSeq: 0,
      batchSeq: 7,
      attempts: 3,
      nextAt: 9_000,
      lastFault: 'the endpoint returned 500',
    })
    expect(meterAfter(failed, undefined, 9_000)).toMatchObject({
      sentSeq: 7,
      batchSeq: null,
      attempts: 0,
      nextAt: 0,
      lastFault: null,
    })
  })

  it('[MTR7] a receiver that asks for a longer wait with retry-after gets it, up to a day', () => {
    const now = Date.UTC(2026, 10, 28)
    const headers = [
      '7200',
      ' 0 ',
      'Sat, 28 Nov 2026 00:10:00 GMT',
      'Fri, 27 Nov 2026 00:00:00 GMT',
      'soon',
      '-5',
      null,
    ]
    expect(headers.map((header) => retryAfterMsOf(header, now))).toEqual([7_200_000, 0, 600_000, 0, 0, 0, 0])
    expect(retryAfterMsOf('999999999999', now)).toBe(86_400_000)
    const asked = (retryAfterMs: number) => meterAfter({ ...idle, batchSeq: 7 }, { ...fault, retryAfterMs }, 1_000)
    expect([asked(7_200_000).nextAt, asked(1_000).nextAt]).toEqual([7_201_000, 3_000])
  })

  it('[MTR14] other names of the events are another message: one id never has two bodies', () => {
    const test = openBooks({ creditNano: 1e9 })
    spend(test, 'r1')
    const batch = (change: Partial<WebhookCursor>) =>
      nextMeterBatch(test.books.store.entries, tenantOf(test), { ...idle, ...change }).batch
    const ids = [{}, { eventName: 'other' }, { customerId: 'cus_2' }].map((change) => batch(change)?.id)
    expect(new Set(ids).size).toBe(3)
    expect(batch({ attempts: 4, nextAt: 9, url: 'https://other.example.com' })?.id).toBe(ids[0])
  })

  it('[MTR15] a replay sends the entries since a time again, also while a batch is in delivery', () => {
    const test = openBooks({ creditNano: 1e9 })
    for (const [index, at] of [1_000, 2_000, 3_000].entries())
      test.transaction((books) => {
        books.admit(testOrder(`r${index}`), at)
        books.settle(testReceipt(`r${index}`), at)
      })
    const { entries } = test.books.store
    const last = tenantOf(test).chainSeq
    // The first entry is the opening credit.
    expect([0, 1, 1_001, 2_000, 3_000, 3_001].map((time) => entries.firstSince(time, 1, last))).toEqual([
      1, 2, 3, 3, 4, 5,
    ])
    const done = { ...idle, sentSeq: last }
    const replayed = replayMeter(done, entries.firstSince(2_000, 1, last) - 1)
    const again = nextMeterBatch(entries, tenantOf(test), replayed).batch
    expect(again?.events.map(({ identifier }) => identifier)).toEqual(['r1.1', 'r2.1'])
    // A delivery that ends after the replay began does not end the replay.
    expect(meterRecorded(replayed, done)).toBeUndefined()
  })

  it('[MTR5] a webhook URL is public HTTPS with a name, or loopback where that is allowed', () => {
    const good = ['https://meter.example.com/in', 'https://a.b-c.example:8443/x?y=1']
    for (const url of good) expect(webhookUrlFault(url, false), url).toBeUndefined()
    const bad = [
      'http://meter.example.com/in',
      'ftp://meter.example.com',
      'https://user:pass@meter.example.com',
      'https://10.0.0.1/in',
      'https://0x7f.1/',
      'https://2130706433/',
      'https://[::1]/in',
      'https://localhost/in',
      'https://a.localhost/in',
      'https://meter.internal/in',
      'https://meter.local./in',
      'https://meter/in',
      'https://meter.example.com/#x',
      'meter.example.com',
      'http://127.0.0.1:9/in',
      'https://kubernetes.default.svc/',
      'https://foo.lan/',
      'https://127.0.0.1.nip.io/',
      'https://app.localtest.me./in',
    ]
    for (const url of bad) expect(webhookUrlFault(url, false), url).toBeTypeOf('string')
    expect(webhookUrlFault('http://127.0.0.1:9/in', true)).toBeUndefined()
    expect(webhookUrlFault('http://10.0.0.1:9/in', true)).toBeTypeOf('string')
    const here = ['http://localhost:9/in', 'http://[::1]:9/in', 'https://localhost:9/in', 'https://127.0.0.1:9/in']
    for (const url of here)
      expect(webhookUrlFault(url, true), url).toBe('must reach this machine as http://127.0.0.1:9')
  })

  it('[MTR6] each tenant and version has its own secret, and the signature covers id, time and body', async () => {
    const key = await sealKey(new Uint8Array(32))
    const next = await sealKey(new Uint8Array(32).fill(1))
    const named = [
      ['a', 1],
      ['a', 2],
      ['b', 1],
    ] as const
    const secrets = (await Promise.all(named.map(([id, version]) => meterSecrets([next, key], id, version)))).flat()
    expect(new Set(secrets.map(formatWebhookSecret)).size).toBe(6)
    // While KEY_SECRET is being rotated, the secret of the earlier key also signs.
    expect(await meterSecrets([key], 'a', 1)).toEqual([secrets[1]])
    expect(formatWebhookSecret(secrets[0] ?? new Uint8Array())).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    // The example from the Standard Webhooks specification.
    const secret = Uint8Array.from(atob('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'), (letter) => letter.charCodeAt(0))
    const headers = await signedHeaders(
      [secret],
      'msg_p5jXN8AQM9LWM0D4loKWxJek',
      1_614_265_330_999,
      '{"test": 2432232314}',
    )
    expect(headers).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    })
  })
})
