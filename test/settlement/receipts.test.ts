/** Verification of receipts and the effect on the ledger, for any claim of a worker or a hosted API. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import { possibleCounts, widestBounds } from '../../backends/model/counts.ts'
import { boundNano, type Counts, costNano, nanoMax } from '../../backends/model/money.ts'
import { type Dispatch, ProvenDispatch } from '../../backends/wire/dispatch.ts'
import { type Receipt, receiptOf, type Settlement } from '../../backends/wire/receipt.ts'
import { proofOf } from '../../src/auth/dispatch-proof.ts'
import { Secret } from '../../src/auth/secret.ts'
import { HostedAnswer, hostedSettlement } from '../../src/chat/hosted-usage.ts'
import { judgeReceipt } from '../../src/settlement/verdict.ts'
import { believe } from '../../src/tenant/believe.ts'
import { type Account, close, type Reservation, raise, reserve, settle } from '../../src/tenant/ledger/ledger.ts'
import { noLimits } from '../../src/tenant/limits/limits.ts'
import { fullBucket, refund, type TokenBucket, take } from '../../src/tenant/limits/token-bucket.ts'
import { verifyBooks } from '../../src/tenant/verify.ts'
import { testDispatch } from '../support/fleet.ts'
import { openBooks, testKey, testOrder, testReceipt } from '../support/tenant.ts'

const fleet = new Secret('f'.repeat(40))
const times = { startedAt: 1, endedAt: 2, firstTokenMs: 1, engine: 'e 1' }
const counts: Counts = { promptTokens: 10, cachedTokens: 4, outputTokens: 5, reasoningTokens: 2 }

function dispatched(change: Partial<Dispatch> = {}): Dispatch {
  const named = testDispatch('r', change)
  return { ...named, proof: proofOf(fleet, named) }
}

function honest(change: Partial<Receipt> = {}): Receipt {
  const receipt = receiptOf(dispatched(), { finishReason: 'stop', counts, estimated: false, ...times })
  return { ...receipt, ...change }
}

const reasonOf = (claims: unknown) => {
  const verdict = judgeReceipt(claims, [fleet])
  return verdict.ok ? 'believed' : verdict.reason
}

/** Any number, including those that JSON cannot represent. */
const anyNumber = fc.oneof(
  fc.integer({ min: -5, max: 30 }),
  fc.double(),
  fc.constantFrom(-1, 0.5, 2 ** 53, -(2 ** 53), 9_007_199_254_740_991, 1e300, Number.POSITIVE_INFINITY, Number.NaN, -0),
  fc.integer(),
)
const anyCounts = fc.record({
  ...{ promptTokens: anyNumber, cachedTokens: anyNumber, outputTokens: anyNumber, reasoningTokens: anyNumber },
})

describe('verification of receipts', () => {
  it('[RCT1] a receipt is refused when any field that its proof covers is not the dispatched one', () => {
    expect(reasonOf(honest())).toBe('believed')
    const { terms } = honest()
    const changes: Partial<Receipt>[] = [
      { requestId: 's', dispatchId: 's.1' },
      { dispatchId: 'r.2' },
      { workerId: 'w2' },
      { tenantId: 'u' },
      { keyId: 'l' },
      { model: 'n' },
      { pool: 'throughput' },
      { effort: 'high' },
      { terms: { ...terms, costNanoMax: terms.costNanoMax + 1 } },
      { terms: { ...terms, promptTokensMax: terms.promptTokensMax + 1 } },
      { terms: { ...terms, outputTokensMax: terms.outputTokensMax + 1 } },
      { terms: { ...terms, issuedAt: terms.issuedAt + 1 } },
      { terms: { ...terms, rates: { ...terms.rates, inputNano: 2 } } },
      { terms: { ...terms, rates: { ...terms.rates, cachedNano: 2 } } },
      { terms: { ...terms, rates: { ...terms.rates, outputNano: 2 } } },
      { proof: '' },
      { proof: 'p'.repeat(43) },
      { proof: proofOf(new Secret('g'.repeat(40)), testDispatch('r')) },
    ]
    for (const change of changes) expect(reasonOf(honest(change)), JSON.stringify(change)).toMatch(/^proof: /)
    const { proof: _, ...without } = honest()
    expect(reasonOf(without)).toMatch(/^proof: /)
    expect(reasonOf({ dispatchId: 'r.1', workerId: 'w1' })).toMatch(/^requestId: /)
    expect(reasonOf(null)).toMatch(/^receipt: /)
  })

  it('[RCT2] impossible counts are refused by the name of the count', () => {
    const wrong: [Partial<Counts>, string][] = [
      [{ promptTokens: 11 }, 'counts.promptTokens'],
      [{ promptTokens: -1 }, 'counts.promptTokens'],
      [{ promptTokens: 9.5 }, 'counts.promptTokens'],
      [{ promptTokens: 9_007_199_254_740_991 }, 'counts.promptTokens'],
      [{ promptTokens: 1e300 }, 'counts.promptTokens'],
      [{ cachedTokens: 11 }, 'counts.cachedTokens'],
      [{ outputTokens: 11 }, 'counts.outputTokens'],
      [{ reasoningTokens: 6 }, 'counts.reasoningTokens'],
      [{ reasoningTokens: 0.5 }, 'counts.reasoningTokens'],
    ]
    for (const [change, name] of wrong) {
      const forged = honest({ counts: { ...counts, ...change } })
      expect(reasonOf(forged), JSON.stringify(change)).toMatch(new RegExp(`^${name.replace('.', '\\.')}: `))
    }
  })

  it('[RCT3] a cost other than the price of the counts, held to the bound, is refused', () => {
    const { costNano } = honest()
    for (const cost of [costNano + 1, costNano - 1, 0, nanoMax])
      expect(reasonOf(honest({ costNano: cost }))).toMatch(/^costNano: /)
    expect(reasonOf(honest({ outcome: 'failed', finishReason: 'error' }))).toMatch(/^costNano: /)
    expect(reasonOf(honest({ outcome: 'failed', finishReason: 'error', costNano: 0 }))).toBe('believed')
    const dear = dispatched({ costNanoMax: 3 })
    const held = receiptOf(dear, { finishReason: 'stop', counts, estimated: false, ...times })
    expect([held.costNano, reasonOf(held)]).toEqual([3, 'believed'])
  })

  it('[RCT4] a worker’s receipt is possible for any counts of its engine, and marked where that changed a count', () => {
    const end = fc.constantFrom(
      'stop' as const,
      'length' as const,
      'tool_calls' as const,
      'abort' as const,
      'error' as const,
    )
    const bound = fc.integer({ min: 1, max: 20 })
    fc.assert(
      fc.property(
        anyCounts,
        end,
        bound,
        bound,
        fc.string({ maxLength: 90 }),
        (counted, finishReason, prompt, output, engine) => {
          const order = dispatched({ promptTokensMax: prompt, outputTokensMax: output, costNanoMax: prompt + output })
          const run = {
            finishReason,
            counts: counted,
            estimated: false,
            startedAt: 9,
            endedAt: 3,
            firstTokenMs: -2,
            engine,
          }
          const receipt = receiptOf(order, run)
          expect(reasonOf(JSON.parse(JSON.stringify(receipt)))).toBe('believed')
          const same = (Object.keys(counted) as (keyof Counts)[]).every(
            (name) => receipt.counts[name] === counted[name],
          )
          expect(receipt.estimated).toBe(!same)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('[RCT17] an inquiry’s answer counts for the dispatches that its worker can prove, and for no other', () => {
    const claim = (change: Partial<Dispatch> = {}) => ProvenDispatch.parse(dispatched(change))
    const own = claim()
    const forged = [
      { ...own, requestId: 's', dispatchId: 's.1' },
      { ...own, proof: 'p'.repeat(43) },
      { ...own, tenantId: 'u' },
      claim({ workerId: 'w2' }),
    ]
    expect(believe([fleet], 'w1', { running: [own, ...forged], owed: [] })).toEqual({ running: ['r'], owed: [] })
    expect(believe([fleet], 'w1', { running: forged, owed: [...forged, own] })).toEqual({ running: [], owed: ['r'] })
  })

  it('[RCT9] impossible usage of a hosted API becomes possible counts, marked estimated', () => {
    const order = {
      ...{ requestId: 'r', dispatchId: 'r.0', tenantId: 't', keyId: 'k', workerId: 'hosted', model: 'm' },
      ...{ effort: 'none' as const, engine: 'x', rates: { inputNano: 1, cachedNano: 1, outputNano: 1 } },
      ...{ textBytes: 30, otherTokensMax: 4, outputTokensMax: 50, bytesPerToken: 3, startedAt: 1 },
    }
    fc.assert(
      fc.property(anyCounts, (usage) => {
        const seen = new HostedAnswer()
        seen.take({ kind: 'usage', usage: { ...usage, reasoningTokens: null } }, 2)
        const test = openBooks({ creditNano: 1_000_000 })
        test.transaction((books) => books.admit(testOrder('r'), 1))
        const settlement = hostedSettlement(order, seen, 'stop', 3)
        const { changed } = possibleCounts(settlement.counts, widestBounds)
        expect(changed).toBe(false)
        expect(test.transaction((books) => books.settle(settlement, 4))).toBe('posted')
        const exact = settlement.counts.promptTokens === usage.promptTokens
        if (!exact) expect(settlement.estimated).toBe(true)
      }),
      { numRuns: 200 },
    )
  })
})

describe('settlement in the ledger', () => {
  it('[RCT10] the receipts of one request post at most its bound, in any order', () => {
    const step = fc.record({
      kind: fc.constantFrom('settle', 'settle', 'settle', 'raise', 'void', 'expire'),
      dispatch: fc.integer({ min: 0, max: 40 }),
      amount: fc.integer({ min: 0, max: 900 }),
      failed: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let account: Account = { creditNano: 100_000, postedNano: 0, reservedNano: 0 }
        const order = { requestId: 'r', keyId: 'k', boundNano: 400, boundTokens: 1, expiresAt: 9 }
        const first = reserve(account, undefined, order, 0)
        if (first.answer !== 'reserved') throw new Error(first.answer)
        let reservation: Reservation = first.reservation
        account = first.account
        const entries = new Map<string, number>()
        const posted = () => [...entries.values()].reduce((sum, cost) => sum + cost, 0)
        for (const { kind, dispatch, amount, failed } of steps) {
          const dispatchId = `r.${dispatch}`
          const charge = { requestId: 'r', dispatchId, costNano: amount, counts, estimated: false, failed }
          const past = { known: entries.has(dispatchId), postedNano: posted() }
          const done =
            kind === 'settle'
              ? settle(account, reservation, past, charge, nanoMax, 1)
              : kind === 'raise'
                ? raise(account, reservation, amount)
                : close(account, reservation, kind === 'void' ? 'void' : 'expire', 1)
          if (!('account' in done)) continue
          account = done.account
          reservation = done.reservation
          if (kind === 'settle' && 'entry' in done) entries.set(dispatchId, done.entry.costNano)
          expect(posted()).toBeLessThanOrEqual(reservation.boundNano)
          expect(account.postedNano).toBe(posted())
          expect(entries.size).toBeLessThanOrEqual(budgets.dispatchesPerRequest.value + 1)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('[RCT10] the account posts at most the bound of a request, for any receipts after it was closed', () => {
    for (const end of ['void', 'expire', 'post'] as const) {
      const test = openBooks({ creditNano: 100_000 })
      test.transaction((books) => books.admit(testOrder('r'), 1))
      if (end !== 'post') test.transaction((books) => books.close('r', end, 2))
      for (let dispatch = 1; dispatch <= 30; dispatch++)
        test.transaction((books) => books.settle(testReceipt('r', { dispatchId: `r.${dispatch}` }), 3))
      test.evict()
      expect(test.books.tenant()).toMatchObject({ postedNano: 1_000, reservedNano: 0 })
      expect(test.books.store.entries.ofRequest('r').reduce((sum, row) => sum + Number(row.short_nano), 0)).toBe(17_000)
      expect(verifyBooks(test.books.store).faults).toEqual([])
    }
  })

  it('[RCT11] the ledger refuses an impossible charge and changes nothing', () => {
    const test = openBooks({ creditNano: 100_000 })
    test.transaction((books) => books.admit(testOrder('r'), 1))
    const before = structuredClone(test.books.tenant())
    const wrong: Partial<Settlement>[] = [
      ...['r', 'r.', 'r.01', 'r.33', 'r.-1', 'r.1e1', 'r.1.1', 's.1', 'r.1 ', ''].map((dispatchId) => ({ dispatchId })),
      ...[-1, 0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY].map((cost) => ({ costNano: cost })),
      { counts: { ...counts, promptTokens: budgets.requestTokens.value + 1 } },
      { counts: { ...counts, cachedTokens: 11 } },
      { counts: { ...counts, reasoningTokens: 6 } },
      { counts: { ...counts, outputTokens: -1 } },
    ]
    for (const change of wrong) {
      expect(
        test.transaction((books) => books.settle(testReceipt('r', change), 2)),
        JSON.stringify(change),
      ).toBe('impossible')
    }
    expect(test.books.tenant()).toEqual(before)
    for (let dispatch = 0; dispatch <= 100; dispatch++) {
      const waste = testReceipt('r', { dispatchId: `r.${dispatch}`, outcome: 'failed', costNano: 0 })
      test.transaction((books) => books.settle(waste, 2))
    }
    expect(test.books.store.entries.ofRequest('r').length).toBe(budgets.dispatchesPerRequest.value + 1)
  })

  it('[RCT12] after any settlement the rows stay readable, the ledger verifies and the tenant is served', () => {
    const step = fc.record({
      kind: fc.constantFrom('admit', 'settle', 'settle', 'settle', 'void', 'expire', 'readmit', 'wait'),
      request: fc.nat(2),
      dispatch: fc.oneof({ weight: 4, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.nat(1_000) }),
      counts: fc.oneof({ weight: 1, arbitrary: anyCounts }, { weight: 3, arbitrary: fc.constant(counts) }),
      costNano: fc.oneof({ weight: 1, arbitrary: anyNumber }, { weight: 3, arbitrary: fc.constant(600) }),
      outcome: fc.constantFrom('finished' as const, 'aborted' as const, 'failed' as const),
    })
    const limits = { ...noLimits, requestsPerMinute: 1_000, tokensPerMinute: 10_000, concurrentMax: 100 }
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const test = openBooks({ creditNano: 50_000, limits, keys: [testKey('k', limits)] })
        let now = 1
        for (const { kind, request, dispatch, costNano: cost, outcome, ...each } of steps) {
          const requestId = `r${request}`
          const receipt = testReceipt(requestId, {
            ...{ dispatchId: `${requestId}.${dispatch}`, counts: each.counts, costNano: cost, outcome },
          })
          test.transaction((books) => {
            if (kind === 'admit') return books.admit(testOrder(requestId), now)
            if (kind === 'settle') return books.settle(receipt, now)
            if (kind === 'void' || kind === 'expire') return books.close(requestId, kind, now)
            const open = books.store.reservations.find(requestId)?.state === 'reserved'
            const order = { requestId, model: 'm', promptTokens: 20, outputTokens: 9 }
            if (kind === 'readmit' && open) return books.readmit(order, now)
            now += 5_000
            return undefined
          })
          test.evict()
          expect(test.books.tenant()?.postedNano).toBeLessThanOrEqual(50_000)
        }
        expect(verifyBooks(test.books.store).faults).toEqual([])
        now += budgets.rateDebt.value + 60_000
        const period = { from: 0, to: now + 3_600_000 }
        const query = { ...period, buckets: [period], groupBy: [], where: {}, label: null }
        expect(test.books.store.usage.report(query)).not.toBeNull()
        test.transaction((books) => books.credit(100_000, 'more', now))
        expect(test.transaction((books) => books.admit(testOrder('zz'), now))).toMatchObject({ ok: true })
      }),
      { numRuns: Number(process.env.FUZZ_RUNS ?? 150) },
    )
  })

  it('[RCT13] verification names a request whose receipts posted more than its bound', () => {
    const test = openBooks({ creditNano: 100_000 })
    for (const id of ['a', 'b']) {
      test.transaction((books) => books.admit(testOrder(id), 1))
      test.transaction((books) => books.settle(testReceipt(id), 2))
    }
    expect(verifyBooks(test.books.store).faults).toEqual([])
    test.db.exec(`UPDATE bookings SET bound_nano = 599 WHERE request_id = 'b'`)
    expect(verifyBooks(test.books.store).faults).toEqual([
      'request b: receipts posted 600 nano-dollars, but its bound is 599',
    ])
  })

  it('[RCT14] numbers out of range are read as the nearest exact ones, and their tenant is served', () => {
    const limits = { ...noLimits, tokensPerMinute: 1_000 }
    const first = openBooks({ creditNano: 1_000_000, limits, keys: [testKey('k', limits)] })
    // The effect of a receipt of 9007199254740991 tokens: a level that is no integer, and sums beyond 2^53.
    const bricked = { level: -5.4e20, at: 1 }
    for (const table of ['account', 'api_keys'])
      first.db.exec(`UPDATE ${table} SET state = json_set(state, '$.tokens', json('${JSON.stringify(bricked)}'))`)
    first.db.exec(`UPDATE api_keys SET state = json_set(state, '$.requests.level', null)`)
    first.db.exec(`INSERT INTO usage_quarters VALUES (0, 'k', 'm', 'latency', 'none', 'finished', 1,
      9223372036854775807, 0, 9007199254740993, 0, 1, 0)`)
    first.db.exec(`INSERT INTO usage_quarters VALUES (0, 'k', 'm', 'latency', 'none', 'aborted', 1,
      9223372036854775807, 0, 9007199254740993, 0, 1, 0)`)
    first.db.exec(`UPDATE rate_cards SET output_nano = 4000000000`)
    first.evict()
    const now = budgets.rateDebt.value + 60_001
    const refused = first.transaction((books) => books.admit(testOrder('a'), 2))
    expect(refused).toMatchObject({ ok: false, code: 'rate_limit_exceeded' })
    expect(refused.ok ? 0 : (refused.retryAfterMs ?? Number.POSITIVE_INFINITY)).toBeLessThan(now)
    expect(first.books.rates('m', now)?.outputNano).toBe(budgets.priceNano.value)
    first.transaction((books) => books.store.rateCards.put('m', 0, { inputNano: 10, cachedNano: 1, outputNano: 100 }))
    expect(first.transaction((books) => books.admit(testOrder('a'), now))).toMatchObject({ ok: true })
    expect(first.transaction((books) => books.settle(testReceipt('a'), now))).toBe('posted')
    first.evict()
    const period = { from: 0, to: 3_600_000 }
    const query = { ...period, buckets: [period], groupBy: [], where: {}, label: null }
    expect(first.books.store.usage.report(query)).toMatchObject([
      { requests: 3, prompt_tokens: nanoMax, output_tokens: nanoMax, cost_nano: 602 },
    ])
    expect(verifyBooks(first.books.store).faults).toEqual([])
  })

  it('[RCT15] the debt of a token rate refills within ten minutes, for any overuse', () => {
    const units = fc.oneof(fc.integer(), fc.constantFrom(2 ** 53, 1e300, budgets.requestTokens.value))
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000_000 }), fc.array(units, { minLength: 1 }), (perMinute, uses) => {
        let bucket: TokenBucket = fullBucket(perMinute, 0)
        for (const used of uses) bucket = refund(bucket, perMinute, -Math.abs(used), 0)
        expect(Number.isSafeInteger(bucket.level)).toBe(true)
        expect(take(bucket, perMinute, 1, budgets.rateDebt.value + 60_000).ok).toBe(true)
      }),
    )
  })

  it('[RCT16] the dearest prices and the longest prompts stay exact', () => {
    const dear = { inputNano: 1_000_000_000, cachedNano: 1_000_000_000, outputNano: 1_000_000_000 }
    const most = budgets.requestTokens.value
    const long = { promptTokens: most, cachedTokens: most, outputTokens: most, reasoningTokens: most }
    expect([costNano(long, dear), boundNano(most, most, dear)]).toEqual([nanoMax, nanoMax])
    const test = openBooks({ creditNano: nanoMax })
    test.transaction((books) => books.store.rateCards.put('m', 0, dear))
    const order = testOrder('a', { promptTokens: most, outputTokens: most })
    expect(test.transaction((books) => books.admit(order, 1))).toMatchObject({ ok: true, boundNano: nanoMax })
    expect(test.transaction((books) => books.admit(testOrder('b'), 1))).toMatchObject({ code: 'insufficient_quota' })
    const receipt = testReceipt('a', { counts: long, costNano: nanoMax })
    expect(test.transaction((books) => books.settle(receipt, 2))).toBe('posted')
    test.evict()
    expect(test.books.tenant()).toMatchObject({ postedNano: nanoMax, reservedNano: 0 })
    expect(verifyBooks(test.books.store).faults).toEqual([])
  })
})
