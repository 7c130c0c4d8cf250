import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { boundNano, costNano, outputTokensWithin } from '../../../backends/model/money.ts'
import {
  type Account,
  close,
  leftNano,
  type Reservation,
  raise,
  reserve,
  settle,
} from '../../../src/tenant/ledger/ledger.ts'

const counts = { promptTokens: 10, cachedTokens: 2, outputTokens: 5, reasoningTokens: 1 }
const account: Account = { creditNano: 1_000, postedNano: 0, reservedNano: 0 }
const order = { requestId: 'r1', keyId: 'k1', boundNano: 400, boundTokens: 20, expiresAt: 900 }
const plenty = Number.MAX_SAFE_INTEGER
const fresh = { known: false, postedNano: 0 }
const charge = { requestId: 'r1', dispatchId: 'r1.1', costNano: 150, counts, estimated: false, failed: false }

function reserved(): { account: Account; reservation: Reservation } {
  const answer = reserve(account, undefined, order, 0)
  if (answer.answer !== 'reserved') throw new Error(answer.answer)
  return answer
}

describe('ledger', () => {
  it('[LED1] a reservation that exceeds the credit is refused and changes nothing', () => {
    expect(reserve(account, undefined, { ...order, boundNano: 1_001 }, 0)).toEqual({
      answer: 'insufficient',
      leftNano: 1_000,
    })
    expect(reserve(account, undefined, { ...order, boundNano: 1_000 }, 0).answer).toBe('reserved')
  })

  it('[LED2] a repeated reservation returns exists, or that the amount differs', () => {
    const { account: after, reservation } = reserved()
    expect(reserve(after, reservation, order, 1)).toEqual({ answer: 'exists' })
    expect(reserve(after, reservation, { ...order, boundNano: 401 }, 1)).toEqual({
      answer: 'exists-with-different-amount',
    })
  })

  it('[LED3] a post releases the whole bound and charges the cost', () => {
    const open = reserved()
    const posted = settle(open.account, open.reservation, fresh, charge, plenty, 5)
    expect(posted).toMatchObject({
      answer: 'posted',
      account: { postedNano: 150, reservedNano: 0 },
      reservation: { state: 'posted' },
      entry: { kind: 'post', costNano: 150, shortNano: 0, counts },
    })
  })

  it('[LED4] a replayed post returns already-posted', () => {
    const open = reserved()
    expect(settle(open.account, open.reservation, { known: true, postedNano: 0 }, charge, plenty, 5)).toEqual({
      answer: 'already-posted',
    })
  })

  it('[LED5] a charge above its bound posts the bound, and the rest is short', () => {
    const open = reserved()
    const posted = settle(open.account, open.reservation, fresh, { ...charge, costNano: 500 }, plenty, 5)
    expect(posted).toMatchObject({
      account: { postedNano: 400, reservedNano: 0 },
      entry: { costNano: 400, shortNano: 100 },
    })
  })

  it('[LED6] a receipt after void or expiry is a late entry of at most the remaining credit', () => {
    for (const kind of ['void', 'expire'] as const) {
      const open = reserved()
      const closed = close(open.account, open.reservation, kind, 3)
      if (!('entry' in closed)) throw new Error(closed.answer)
      expect(closed.account.reservedNano).toBe(0)
      const late = settle({ ...closed.account, postedNano: 900 }, closed.reservation, fresh, charge, plenty, 5)
      expect(late).toMatchObject({ answer: 'late', entry: { kind: 'late', costNano: 100, shortNano: 50 } })
      expect(late).toMatchObject({ account: { postedNano: 1_000 }, reservation: { state: closed.reservation.state } })
    }
  })

  it('[LED7] closing a closed reservation changes nothing and returns how it ended', () => {
    const open = reserved()
    const posted = settle(open.account, open.reservation, fresh, charge, plenty, 5)
    if (!('reservation' in posted)) throw new Error(posted.answer)
    expect(close(posted.account, posted.reservation, 'void', 6)).toEqual({ answer: 'already-posted' })
    expect(close(posted.account, undefined, 'void', 6)).toEqual({ answer: 'unknown' })
  })

  it('[LED8] a failed attempt becomes waste, costs nothing and leaves the reservation open', () => {
    const open = reserved()
    const wasted = settle(open.account, open.reservation, fresh, { ...charge, costNano: 0, failed: true }, plenty, 5)
    expect(wasted).toMatchObject({
      answer: 'wasted',
      account: open.account,
      reservation: { state: 'reserved' },
      entry: { kind: 'waste', counts },
    })
  })

  it('[LED9] an open reservation can be raised within the credit, a closed one cannot', () => {
    const open = reserved()
    expect(raise(open.account, open.reservation, 1_000)).toMatchObject({
      answer: 'raised',
      account: { reservedNano: 1_000 },
    })
    expect(raise(open.account, open.reservation, 1_001)).toEqual({ answer: 'insufficient', leftNano: 600 })
    expect(raise(open.account, { ...open.reservation, state: 'voided' }, 500)).toEqual({ answer: 'not-reserved' })
  })

  it('[LED10] in any sequence, posted plus reserved stays within the credit and equals the reservations', () => {
    const operation = fc.record({
      kind: fc.constantFrom('reserve', 'raise', 'settle', 'void', 'expire'),
      request: fc.integer({ min: 0, max: 4 }),
      dispatch: fc.integer({ min: 1, max: 3 }),
      amount: fc.integer({ min: 0, max: 600 }),
      failed: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        let books: Account = account
        const reservations = new Map<string, Reservation>()
        const dispatches = new Set<string>()
        const posted = new Map<string, number>()
        let spent = 0
        for (const [now, each] of operations.entries()) {
          const requestId = `r${each.request}`
          const dispatchId = `${requestId}.${each.dispatch}`
          const reservation = reservations.get(requestId)
          const done =
            each.kind === 'reserve'
              ? reserve(
                  books,
                  reservation,
                  { requestId, keyId: 'k', boundNano: each.amount, boundTokens: 1, expiresAt: now + 10 },
                  now,
                )
              : each.kind === 'raise'
                ? raise(books, reservation, each.amount)
                : each.kind === 'settle'
                  ? settle(
                      books,
                      reservation,
                      { known: dispatches.has(dispatchId), postedNano: posted.get(requestId) ?? 0 },
                      {
                        ...charge,
                        requestId,
                        dispatchId,
                        costNano: each.failed ? 0 : each.amount,
                        failed: each.failed,
                      },
                      plenty,
                      now,
                    )
                  : close(books, reservation, each.kind === 'void' ? 'void' : 'expire', now)
          if (!('account' in done)) continue
          books = done.account
          reservations.set(requestId, done.reservation)
          if ('entry' in done) {
            spent += done.entry.costNano
            posted.set(requestId, (posted.get(requestId) ?? 0) + done.entry.costNano)
            expect(posted.get(requestId)).toBeLessThanOrEqual(done.reservation.boundNano)
          }
          if (each.kind === 'settle') dispatches.add(dispatchId)
          const held = [...reservations.values()].filter((one) => one.state === 'reserved')
          expect(books.reservedNano).toBe(held.reduce((sum, one) => sum + one.boundNano, 0))
          expect(books.postedNano).toBe(spent)
          expect(leftNano(books)).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })
})

describe('money', () => {
  const rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }

  it('[LED11] a cost is an integer: fresh, cached and output tokens at their own rate', () => {
    expect(costNano(counts, rates)).toBe(8 * 150 + 2 * 15 + 5 * 600)
  })

  it('[LED12] the output within a reservation never costs more than was reserved', () => {
    const tokens = fc.integer({ min: 0, max: 300_000 })
    fc.assert(
      fc.property(tokens, tokens, tokens, (reservedPrompt, reservedOutput, prompt) => {
        const bound = boundNano(reservedPrompt, reservedOutput, rates)
        const output = outputTokensWithin(bound, prompt, rates)
        if (output < 0) {
          expect(prompt * rates.inputNano).toBeGreaterThan(bound)
          return
        }
        expect(boundNano(prompt, output, rates)).toBeLessThanOrEqual(bound)
        expect(boundNano(prompt, output + 1, rates)).toBeGreaterThan(bound)
      }),
    )
  })
})
