/** The edge's own settlement of a hosted answer. */
import { describe, expect, it } from 'vitest'
import type { BackendEvent } from '../../backends/contract/backend.ts'
import { HostedAnswer, type HostedEnd, type HostedTerms, hostedSettlement } from '../../src/chat/hosted-usage.ts'
import { NoWorker, refusal } from '../../src/fleet/refusal.ts'
import type { LeaseOutcome } from '../../src/fleet/state.ts'
import { verifyBooks } from '../../src/tenant/verify.ts'
import { openBooks, testOrder, testRates } from '../support/tenant.ts'

const terms: HostedTerms = {
  requestId: 'r',
  dispatchId: 'r.9',
  tenantId: 't',
  keyId: 'k',
  workerId: 'hosted-mistral',
  model: 'm',
  effort: 'high',
  engine: 'mistral x',
  rates: testRates,
  textBytes: 30,
  otherTokensMax: 64,
  outputTokensMax: 50,
  bytesPerToken: 3,
  startedAt: 100,
}
const text = (text: string, channel: 'content' | 'reasoning' = 'content'): BackendEvent => ({
  kind: 'text',
  channel,
  text,
})
const usage = (outputTokens: number): BackendEvent => ({
  kind: 'usage',
  usage: { promptTokens: 20, cachedTokens: 4, outputTokens, reasoningTokens: null },
})

function settled(end: HostedEnd, ...events: BackendEvent[]) {
  const seen = new HostedAnswer()
  for (const event of events) seen.take(event, 130)
  return hostedSettlement(terms, seen, end, 200)
}

describe('a hosted settlement', () => {
  it('[HST1] a settlement with reported usage records exactly that usage', () => {
    expect(settled('stop', text('Hello'), usage(7))).toMatchObject({
      pool: 'hosted',
      outcome: 'finished',
      finishReason: 'stop',
      counts: { promptTokens: 20, cachedTokens: 4, outputTokens: 7, reasoningTokens: 0 },
      costNano: 16 * 10 + 4 + 7 * 100,
      estimated: false,
      firstTokenMs: 30,
    })
  })

  it('[HST2] a settlement without reported usage records a marked upper estimate within the bound', () => {
    const { counts, estimated, outcome, finishReason } = settled('abort', text('Hello, world'))
    expect(counts).toEqual({ promptTokens: 10 + 64, cachedTokens: 0, outputTokens: 4, reasoningTokens: 0 })
    expect({ estimated, outcome, finishReason }).toEqual({ estimated: true, outcome: 'aborted', finishReason: 'abort' })
    expect(settled('abort', ...Array.from({ length: 9 }, () => text('1'))).counts.outputTokens).toBe(9)
    expect(settled('abort', text('x'.repeat(9_000))).counts.outputTokens).toBe(50)
    const call: BackendEvent = { kind: 'call', call: { id: 'x', name: 'add', arguments: '{"a":1}' } }
    expect(settled('abort', call).counts.outputTokens).toBe(4)
    expect(settled('abort').firstTokenMs).toBeNull()
  })

  it('[HST3] reasoning tokens without a count are estimated by their share of the bytes, and marked', () => {
    const { counts, estimated, costNano } = settled('stop', text('abcdef', 'reasoning'), text('abc'), usage(30))
    expect(counts).toMatchObject({ outputTokens: 30, reasoningTokens: 20 })
    expect(estimated).toBe(true)
    expect(costNano).toBe(16 * 10 + 4 + 30 * 100)
  })

  it('[HST4] a cost above the reservation posts the bound and records the rest as short, and a failure costs nothing', () => {
    const test = openBooks({ creditNano: 10_000 })
    const admit = (requestId: string) => test.transaction((books) => books.admit(testOrder(requestId), 1))
    const settle = (requestId: string, end: HostedEnd) =>
      test.transaction((books) =>
        books.settle({ ...settled(end, usage(50)), requestId, dispatchId: `${requestId}.9` }, 2),
      )
    expect(admit('r1')).toMatchObject({ ok: true, boundNano: 1_000, hostedRates: null })
    expect(settle('r1', 'stop')).toBe('posted')
    expect(settle('r1', 'abort')).toBe('already-posted')
    expect(test.books.store.entries.ofRequest('r1')).toMatchObject([
      { kind: 'post', cost_nano: 1_000, short_nano: 5_164 - 1_000, pool: 'hosted', worker_id: 'hosted-mistral' },
    ])
    admit('r2')
    expect(settle('r2', 'failed')).toBe('wasted')
    expect(test.books.tenant()).toMatchObject({ postedNano: 1_000, reservedNano: 1_000 })
    expect(verifyBooks(test.books.store)).toEqual({ entries: 3, faults: [] })
  })

  it('[HST5] hosted rates go only to a tenant that allows the fallback and has a card for the model', () => {
    const test = openBooks({ creditNano: 100_000 })
    const rates = (requestId: string, model = 'm') =>
      test.transaction((books) => {
        const admitted = books.admit({ ...testOrder(requestId), model }, 1)
        return admitted.ok ? admitted.hostedRates : admitted.code
      })
    const dear = { inputNano: 20, cachedNano: 2, outputNano: 200 }
    test.transaction((books) => books.store.rateCards.put('hosted:m', 0, dear))
    expect(rates('r1')).toBeNull()
    const tenant = test.books.tenant()
    if (!tenant) throw new Error('no tenant')
    test.transaction((books) => books.putTenant({ ...tenant, settings: { ...tenant.settings, hosted: 'last-resort' } }))
    expect(rates('r2')).toEqual(dear)
    const raised = test.transaction((books) =>
      books.readmit({ requestId: 'r2', model: 'hosted:m', promptTokens: 10, outputTokens: 9 }, 2),
    )
    expect(raised).toEqual({ ok: true, boundNano: 2_000 })
    // Another model, with a rate card but without a hosted one.
    test.transaction((books) => books.store.rateCards.put('n', 0, dear))
    expect(rates('r3', 'n')).toBeNull()
  })

  it('[HST6] the fallback serves a request that no worker can take now or in time, but no cancelled request', () => {
    const outcomes: [LeaseOutcome, boolean][] = [
      [{ kind: 'rejected-no-endpoints' }, true],
      [{ kind: 'rejected-capacity', retryAfterMs: 5_000 }, true],
      [{ kind: 'evicted-ttl', retryAfterMs: 5_000 }, true],
      [{ kind: 'evicted-cancelled' }, false],
    ]
    for (const [outcome, may] of outcomes) {
      if (outcome.kind === 'granted') throw new Error('a lease was granted')
      expect(refusal(outcome, 'm') instanceof NoWorker, outcome.kind).toBe(may)
    }
  })
})
