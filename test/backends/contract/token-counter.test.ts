/** The token counter: counts are exact if the engine reports them, and otherwise marked as estimated. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { BackendEvent, BackendUsage, Truth } from '../../../backends/contract/backend.ts'
import {
  type CounterTerms,
  correct,
  countsOf,
  isEstimated,
  newTokenCounter,
  takeEvent,
} from '../../../backends/contract/token-counter.ts'
import { llamaCpp } from '../../../backends/engines/llama-cpp.ts'
import { sglang } from '../../../backends/engines/sglang.ts'
import { transformers } from '../../../backends/engines/transformers.ts'

const content: BackendEvent = { kind: 'text', channel: 'content', text: 'x' }
const reasoning: BackendEvent = { kind: 'text', channel: 'reasoning', text: 'x' }
const piece: BackendEvent = { kind: 'piece' }
const end: BackendEvent = { kind: 'end', finishReason: 'stop' }
const used = (outputTokens: number, more: Partial<BackendUsage> = {}): BackendEvent => ({
  kind: 'usage',
  usage: { promptTokens: 10, cachedTokens: null, outputTokens, reasoningTokens: null, ...more },
})

const termsOf = (truth: Truth): CounterTerms => ({ truth, promptTokens: 12, promptCounted: true })

function counterOf(events: BackendEvent[]) {
  const counter = newTokenCounter()
  for (const event of events) takeEvent(counter, event)
  return counter
}

/** One row: the events of an answer so far, its output and reasoning tokens, and whether any count is an estimate. */
type Row = [events: BackendEvent[], outputTokens: number, reasoningTokens: number, estimated: boolean]

function expectRows(truth: Truth, rows: Row[]): void {
  const terms = termsOf(truth)
  const counted = rows.map(([events]): Row => {
    const counter = counterOf(events)
    const { outputTokens, reasoningTokens } = countsOf(counter, terms)
    return [events, outputTokens, reasoningTokens, isEstimated(counter, terms)]
  })
  expect(counted).toEqual(rows)
}

describe('usage on every delta', () => {
  const { truth } = llamaCpp
  // [THINK] has no delta; [/THINK] arrives with the first delta of the content.
  const thought = [used(1), reasoning, used(2), reasoning, used(3), content, used(5)]

  it('[BMT1] output is exact at every moment, and reasoning is its growth, including markers', () => {
    expectRows(truth, [
      [[], 0, 0, false],
      [[used(1), content, used(1)], 1, 0, false],
      [thought.slice(0, 3), 2, 2, false],
      [thought.slice(0, 5), 3, 3, false],
      [thought, 5, 4, false],
      [[...thought, content, used(6), end], 6, 4, false],
      [[...thought, reasoning, used(7), content, used(8)], 8, 6, false],
    ])
    expect(countsOf(counterOf(thought), termsOf(truth)).promptTokens).toBe(10)
  })

  it('[BMT2] a delta without its total counts as one, and no count is below the reported one', () => {
    expectRows(truth, [
      [[content], 1, 0, true],
      [[content, used(1), content], 2, 0, false],
      [[reasoning, used(1), reasoning], 2, 2, false],
      [[piece, used(3), used(2)], 3, 0, false],
    ])
    const event = fc.oneof(
      fc.constantFrom(content, reasoning, piece),
      fc.nat(50).map((tokens) => used(tokens)),
    )
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const counter = newTokenCounter()
        let reported = 0
        let since = 0
        for (const each of events) {
          takeEvent(counter, each)
          since = each.kind === 'usage' ? 0 : since + 1
          if (each.kind === 'usage') reported = Math.max(reported, each.usage.outputTokens)
          const { outputTokens, reasoningTokens } = countsOf(counter, termsOf(truth))
          expect(outputTokens).toBe(reported + since)
          expect(reasoningTokens).toBeLessThanOrEqual(outputTokens)
          expect(reasoningTokens).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })

  it('[BMT3] a step of several tokens that ends the reasoning makes the split an estimate', () => {
    expectRows(truth, [
      [[reasoning, used(2), content, used(4), end], 4, 3, false],
      [[reasoning, used(2), content, used(9), end], 9, 8, true],
    ])
  })
})

describe('usage at the end', () => {
  const { truth } = transformers

  it('[BMT4] a complete answer is exact, an aborted one is an estimate, and reasoning gets its share', () => {
    expectRows(truth, [
      [[content, used(7), end], 7, 0, false],
      [[content, content], 2, 0, true],
      [[reasoning, reasoning, reasoning, content, used(8), end], 8, 6, true],
    ])
    expect(countsOf(counterOf([content]), termsOf(truth)).promptTokens).toBe(12)
  })

  it('[BMT5] an answer without usage is an estimate until its texts are counted', () => {
    const counter = counterOf([reasoning, content, end])
    expect(isEstimated(counter, termsOf(truth))).toBe(true)
    correct(counter, 40, 30)
    expect(countsOf(counter, termsOf(truth))).toEqual({
      promptTokens: 12,
      cachedTokens: 0,
      outputTokens: 40,
      reasoningTokens: 30,
    })
    expect(isEstimated(counter, termsOf(truth))).toBe(false)
    expect(isEstimated(counter, { ...termsOf(truth), promptCounted: false })).toBe(true)
  })
})

describe('reported reasoning tokens', () => {
  it('[BMT6] reported reasoning tokens are used, but a zero after reasoning text is ignored', () => {
    const thought = [reasoning, reasoning, content]
    expectRows(sglang.truth, [
      [[...thought, used(9, { reasoningTokens: 5 }), end], 9, 5, false],
      [[...thought, used(9, { reasoningTokens: 0 }), end], 9, 6, true],
      [[content, used(9, { reasoningTokens: 0 }), end], 9, 0, false],
    ])
  })
})
