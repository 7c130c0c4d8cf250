/** The token counter: counts are exact if the engine reports them, and otherwise marked as estimated. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { BackendEvent, BackendUsage, Truth } from '../../../backends/contract/backend.ts'
import { createMeter } from '../../../backends/contract/token-counter.ts'
import { llamaCpp } from '../../../backends/engines/llama-cpp.ts'
import { sglang } from '../../../backends/engines/sglang.ts'
import { transformers } from '../../../backends/engines/transformers.ts'

const text = (channel: 'content' | 'reasoning'): BackendEvent => ({ kind: 'text', channel, text: 'x' })
const used = (outputTokens: number, more: Partial<BackendUsage> = {}): BackendEvent => ({
  kind: 'usage',
  usage: { promptTokens: 10, cachedTokens: null, outputTokens, reasoningTokens: null, ...more },
})
const end: BackendEvent = { kind: 'end', finishReason: 'stop' }

function metered(truth: Truth, ...events: BackendEvent[]) {
  const meter = createMeter(truth, 12, true)
  for (const event of events) meter.take(event)
  return { ...meter.counts, estimated: meter.estimated }
}

describe('usage on every delta', () => {
  const { truth } = llamaCpp

  it('[BMT1] output is exact at every moment, and reasoning is its growth, including markers', () => {
    // [THINK] has no delta; [/THINK] arrives with the first delta of the content.
    const events = [used(1), text('reasoning'), used(2), text('reasoning'), used(3), text('content'), used(5)]
    expect(metered(truth, ...events, text('content'), used(6), end)).toMatchObject({
      promptTokens: 10,
      outputTokens: 6,
      reasoningTokens: 4,
      estimated: false,
    })
    expect(metered(truth, ...events.slice(0, 5))).toMatchObject({
      outputTokens: 3,
      reasoningTokens: 3,
      estimated: false,
    })
    expect(metered(truth, used(1), text('content'), used(1))).toMatchObject({ outputTokens: 1, reasoningTokens: 0 })
  })

  it('[BMT2] a delta without its total counts as one, and no count is below the reported one', () => {
    expect(metered(truth, text('content'), used(1), text('content'))).toMatchObject({ outputTokens: 2 })
    const event = fc.oneof(
      fc.constantFrom(text('content'), text('reasoning'), { kind: 'piece' } as const),
      fc.nat(50).map((tokens) => used(tokens)),
    )
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const meter = createMeter(truth, 12, true)
        let reported = 0
        let since = 0
        for (const each of events) {
          meter.take(each)
          since = each.kind === 'usage' ? 0 : since + 1
          if (each.kind === 'usage') reported = Math.max(reported, each.usage.outputTokens)
          const { outputTokens, reasoningTokens } = meter.counts
          expect(outputTokens).toBe(reported + since)
          expect(reasoningTokens).toBeLessThanOrEqual(outputTokens)
          expect(reasoningTokens).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })

  it('[BMT3] a step of several tokens that ends the reasoning makes the split an estimate', () => {
    const events = [text('reasoning'), used(2), text('content'), used(9), end]
    expect(metered(truth, ...events)).toMatchObject({ outputTokens: 9, estimated: true })
  })
})

describe('usage at the end', () => {
  const { truth } = transformers

  it('[BMT4] a complete answer is exact, an aborted one is an estimate, and reasoning gets its share', () => {
    expect(metered(truth, text('content'), used(7), end)).toMatchObject({ outputTokens: 7, estimated: false })
    expect(metered(truth, text('content'), text('content'))).toMatchObject({
      promptTokens: 12,
      outputTokens: 2,
      estimated: true,
    })
    const thoughtful = [text('reasoning'), text('reasoning'), text('reasoning'), text('content')]
    expect(metered(truth, ...thoughtful, used(8), end)).toMatchObject({ reasoningTokens: 6, estimated: true })
  })

  it('[BMT5] an answer without usage is an estimate until its texts are counted', () => {
    const meter = createMeter(truth, 12, true)
    for (const event of [text('reasoning'), text('content'), end]) meter.take(event)
    expect(meter.estimated).toBe(true)
    meter.correct(40, 30)
    expect(meter.counts).toEqual({ promptTokens: 12, cachedTokens: 0, outputTokens: 40, reasoningTokens: 30 })
    expect(meter.estimated).toBe(false)
  })
})

describe('reported reasoning tokens', () => {
  it('[BMT6] reported reasoning tokens are used, but a zero after reasoning text is ignored', () => {
    const { truth } = sglang
    const thought = [text('reasoning'), text('reasoning'), text('content')]
    expect(metered(truth, ...thought, used(9, { reasoningTokens: 5 }), end)).toMatchObject({
      reasoningTokens: 5,
      estimated: false,
    })
    expect(metered(truth, ...thought, used(9, { reasoningTokens: 0 }), end).reasoningTokens).toBeGreaterThan(0)
    expect(metered(truth, text('content'), used(9, { reasoningTokens: 0 }), end)).toMatchObject({
      reasoningTokens: 0,
      estimated: false,
    })
  })
})
