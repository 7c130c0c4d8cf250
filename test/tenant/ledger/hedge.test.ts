/** Hedged requests: the dispatch that is paid for, their pruning, and the setting. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HedgeAfter } from '../../../src/hedge-after.ts'
import { verifyBooks } from '../../../src/tenant/verify.ts'
import { openBooks, testOrder, testReceipt } from '../../support/tenant.ts'

const event = fc.oneof(
  fc.record({ kind: fc.constant('won' as const), attempt: fc.integer({ min: 1, max: 2 }) }),
  fc.record({
    kind: fc.constant('receipt' as const),
    attempt: fc.integer({ min: 1, max: 2 }),
    outcome: fc.constantFrom('finished' as const, 'aborted' as const, 'failed' as const),
  }),
  fc.record({ kind: fc.constantFrom('void' as const, 'expire' as const, 'evict' as const) }),
)

describe('hedged requests in the ledger', () => {
  it('[HDG6] in any order of events, at most the recorded winner is billed, within the reservation', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 12 }), (events) => {
        const test = openBooks({ creditNano: 10_000 })
        test.transaction((books) => books.admit(testOrder('r'), 1))
        test.transaction((books) => books.hedge('r'))
        let named: string | undefined
        for (const each of events) {
          if (each.kind === 'evict') test.evict()
          else if (each.kind === 'won') {
            const asked = `r.${each.attempt}`
            const paid = test.transaction((books) => books.hedgeWon('r', asked))
            expect(paid).toBe(named ?? paid)
            named = paid
          } else if (each.kind === 'receipt') {
            const dispatchId = `r.${each.attempt}`
            const { outcome } = each
            const costNano = outcome === 'failed' ? 0 : 600
            test.transaction((books) => books.settle(testReceipt('r', { dispatchId, outcome, costNano }), 2))
          } else test.transaction((books) => books.close('r', each.kind === 'void' ? 'void' : 'expire', 3))
        }
        const paid = test.books.store.entriesOf('r').filter(({ cost_nano }) => Number(cost_nano) > 0)
        expect(paid.length).toBeLessThanOrEqual(1)
        const winner = test.books.store.hedge('r')?.winner
        if (named !== undefined) expect(winner).toBe(named)
        for (const { ref } of paid) expect(ref).toBe(winner)
        expect(test.books.tenant()?.postedNano).toBe(paid.length * 600)
        expect(verifyBooks(test.books.store).faults).toEqual([])
      }),
      { numRuns: 300 },
    )
  })

  it('[HDG7] the receipt of the losing dispatch never posts, before, after or without a winner', () => {
    const kinds = (steps: ['won' | 'finished' | 'aborted', number][]) => {
      const test = openBooks({ creditNano: 10_000 })
      test.transaction((books) => books.admit(testOrder('r'), 1))
      test.transaction((books) => books.hedge('r'))
      for (const [step, attempt] of steps) {
        const dispatchId = `r.${attempt}`
        test.transaction((books) =>
          step === 'won'
            ? books.hedgeWon('r', dispatchId)
            : books.settle(testReceipt('r', { dispatchId, outcome: step }), 2),
        )
      }
      const entries = test.books.store.entriesOf('r').map(({ kind, ref }) => `${kind} ${ref}`)
      return [...entries, test.books.store.reservation('r')?.state]
    }
    const posted = ['post r.2', 'waste r.1', 'posted']
    const wasted = ['waste r.1', 'post r.2', 'posted']
    expect(
      kinds([
        ['won', 2],
        ['finished', 2],
        ['aborted', 1],
      ]),
    ).toEqual(posted)
    expect(
      kinds([
        ['won', 2],
        ['aborted', 1],
        ['finished', 2],
      ]),
    ).toEqual(wasted)
    expect(
      kinds([
        ['won', 2],
        ['aborted', 2],
        ['finished', 1],
      ]),
    ).toEqual(posted)
    expect(
      kinds([
        ['aborted', 1],
        ['won', 2],
        ['finished', 2],
      ]),
    ).toEqual(wasted)
    expect(
      kinds([
        ['finished', 2],
        ['won', 1],
        ['aborted', 1],
      ]),
    ).toEqual(posted)
    expect(
      kinds([
        ['aborted', 1],
        ['aborted', 2],
      ]),
    ).toEqual(['waste r.1', 'waste r.2', 'reserved'])
  })

  it('[HDG11] pruning a reservation removes the record of its hedge', () => {
    const test = openBooks({ creditNano: 10_000 })
    test.transaction((books) => books.admit(testOrder('r'), 1))
    test.transaction((books) => books.hedge('r'))
    test.transaction((books) => books.settle(testReceipt('r'), 2))
    expect(test.books.store.hedge('r')).toEqual({ winner: 'r.1' })
    test.transaction((books) => books.store.prune(1_000, 100))
    expect(test.books.store.hedge('r')).toBeUndefined()
  })

  it('[HDG8] the setting is whole milliseconds from 500 to 60000', () => {
    expect(['500', '3000', '60000'].map((text) => HedgeAfter.parse(text))).toEqual([500, 3_000, 60_000])
    for (const text of ['', '0', '499', '60001', '1e4', '2.5', '-500', '3s']) {
      expect(HedgeAfter.safeParse(text).error?.issues[0]?.message).toBe(
        'must be a whole number of milliseconds from 500 to 60000, or unset',
      )
    }
  })
})
