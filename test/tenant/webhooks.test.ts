/** Usage events: their content, their batches, and the state after a receiver's response. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sealKey } from '../../backends/wire/seal.ts'
import type { Tenant } from '../../src/tenant/store/account-rows.ts'
import type { WebhookCursor } from '../../src/tenant/store/webhook-rows.ts'
import { meterAfter, meterBatchMax, nextMeterBatch } from '../../src/tenant/webhooks/cursor.ts'
import {
  formatMeterSecret,
  meterRetryMs,
  meterSecret,
  meterUrlFault,
  signedHeaders,
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
            meter = meterAfter(batch.meter, outcome === 'taken' ? undefined : 'no answer', 0)
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
    const failed = meterAfter({ ...idle, batchSeq: 7, attempts: 2 }, 'the endpoint returned 500', 1_000)
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

  it('[MTR5] a webhook URL is public HTTPS with a name, or loopback where that is allowed', () => {
    const good = ['https://meter.example.com/in', 'https://a.b-c.example:8443/x?y=1']
    for (const url of good) expect(meterUrlFault(url, false), url).toBeUndefined()
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
    ]
    for (const url of bad) expect(meterUrlFault(url, false), url).toBeTypeOf('string')
    expect(meterUrlFault('http://127.0.0.1:9/in', true)).toBeUndefined()
    expect(meterUrlFault('http://10.0.0.1:9/in', true)).toBeTypeOf('string')
  })

  it('[MTR6] each tenant and version has its own secret, and the signature covers id, time and body', async () => {
    const key = await sealKey(new Uint8Array(32))
    const secrets = await Promise.all([meterSecret(key, 'a', 1), meterSecret(key, 'a', 2), meterSecret(key, 'b', 1)])
    expect(new Set(secrets.map(formatMeterSecret)).size).toBe(3)
    expect(formatMeterSecret(secrets[0])).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    // The example from the Standard Webhooks specification.
    const secret = Uint8Array.from(atob('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'), (letter) => letter.charCodeAt(0))
    const headers = await signedHeaders(
      secret,
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
