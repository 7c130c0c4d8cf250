import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { capabilities } from '../../../backends/contract/backend.ts'
import { mistral, mistralModel } from '../../../backends/engines/mistral.ts'
import { openaiRequest, plainDialect } from '../../../backends/engines/openai/body.ts'
import { readChat } from '../../../backends/model/chat.ts'
import { computable, temperatureMin } from '../../../backends/model/sampling.ts'

const largestLogit = 1e6

describe('sampling values', () => {
  it('[EGS23] every value that a client may send becomes one that 32-bit floats can compute with', () => {
    const edges = fc.constantFrom(0, 1e-38, 1e-39, 1e-40, 1.4e-45, 5e-324, 1e-4, 9.99e-4, 1e-3, 0.5, 1, 2, -1e-40, -2)
    const value = fc.oneof(edges, fc.double({ min: 0, max: 2, noNaN: true }))
    fc.assert(
      fc.property(value, value, value, (temperature, topP, penalty) => {
        const taken = computable({ temperature, topP, frequencyPenalty: penalty, presencePenalty: -penalty })
        expect(
          taken.temperature === 0 || Number.isFinite(Math.fround(largestLogit / Math.fround(taken.temperature))),
        ).toBe(true)
        expect(taken.temperature).toBe(temperature < temperatureMin ? 0 : temperature)
        expect(Math.fround(taken.topP)).toBeGreaterThan(0)
        expect(taken.topP).toBeLessThanOrEqual(1)
        for (const each of [taken.frequencyPenalty, taken.presencePenalty])
          expect(Math.abs(each)).toBeLessThanOrEqual(2)
      }),
    )
    expect(computable({})).toEqual({})
    expect(computable({ temperature: Number.NaN, topP: Number.NaN })).toEqual({ temperature: 0, topP: 1 })
  })

  it('[EGS23] engines over HTTP and the hosted API get the same values', () => {
    const read = readChat({
      ...{ model: 'm', messages: [{ role: 'user', content: 'x' }] },
      ...{ temperature: 1e-40, top_p: 5e-324, frequency_penalty: 1e-45 },
    })
    if (!read.ok) throw new Error(read.message)
    const terms = { requestId: 'r', effort: 'none' as const, outputTokensMax: 1, priority: 0, cacheSalt: '' }
    const can = capabilities({ penalties: true, efforts: ['none'] })
    const attached = { version: '', model: 'm', contextTokens: null, slotsMax: null, capabilities: can, faults: [] }
    const requests = [
      openaiRequest(read.chat, terms, attached, plainDialect),
      mistral.request(read.chat, terms, mistralModel('m')),
    ]
    for (const request of requests) {
      if (!request.ok) throw new Error(request.message)
      expect(JSON.parse(request.call.body ?? '')).toMatchObject({ temperature: 0, top_p: 1e-6, frequency_penalty: 0 })
    }
  })
})
