/** The memory of large bodies in an isolate, and the bytes that the edge sends to a worker for them. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat } from '../../backends/model/chat.ts'
import { readChat } from '../../backends/model/chat.ts'
import { chatBody } from '../../backends/model/chat-body.ts'
import { documentBy, imageByData, measureMedia } from '../../backends/model/media.ts'
import { KnownKeys } from '../../src/auth/known-keys.ts'
import { chatBytes } from '../../src/chat/chat-bytes.ts'
import { unsealThinking } from '../../src/dialects/carried-thinking.ts'
import { noPreviousTurns } from '../../src/dialects/dialect.ts'
import { readResponses } from '../../src/dialects/openai-responses/read.ts'
import { BodyMemory } from '../../src/http/body-memory.ts'

describe('the memory of bodies', () => {
  it('[BODY6] all holds stay under the limit, several of one tenant under half of it, and all memory is released', () => {
    const step = fc.record({
      tenant: fc.constantFrom('a', 'b', 'c'),
      bytes: fc.integer({ min: 0, max: 120 }),
      what: fc.constantFrom('resize', 'release', 'fits'),
      hold: fc.nat(5),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const memory = new BodyMemory(100)
        const holds = Array.from({ length: 6 }, (_, index) => ({
          hold: memory.open('abc'[index % 3] ?? 'a'),
          bytes: 0,
        }))
        for (const { what, bytes, hold: index } of steps) {
          const held = holds[index]
          if (!held) continue
          const fits = held.hold.fits(bytes)
          if (what === 'resize' && held.hold.resize(bytes)) {
            expect(fits).toBe(true)
            held.bytes = bytes
          }
          if (what === 'release') {
            held.hold.release()
            held.bytes = 0
          }
          expect(memory.heldBytes).toBe(holds.reduce((sum, each) => sum + each.bytes, 0))
          expect(memory.heldBytes).toBeLessThanOrEqual(100)
        }
        for (const { hold } of holds) hold.release()
        expect(memory.heldBytes).toBe(0)
      }),
    )
    const memory = new BodyMemory(100)
    const [first, second, other] = [memory.open('a'), memory.open('a'), memory.open('b')]
    expect(first.resize(30)).toBe(true)
    expect(second.resize(21)).toBe(false)
    expect(second.resize(20)).toBe(true)
    expect(other.resize(50)).toBe(true)
  })

  it('[BODY7] a large body is sent to a worker byte for byte as a small one would be', () => {
    const texts = fc.array(fc.string({ unit: fc.constantFrom('a', '"', '\\', '\n', 'é', '中', '😀', '\u0001') }), {
      maxLength: 3,
    })
    fc.assert(
      fc.property(texts, fc.integer({ min: 0, max: 3 }), (parts, blown) => {
        // Some texts become long, so that surrogate pairs fall on slice boundaries.
        const long = parts.map((text, index) =>
          index === blown ? text.repeat(Math.ceil(300_000 / (text.length || 1))) : text,
        )
        const chat = chatOf(long)
        const bytes = chatBytes(chat, 2 ** 30, 'mark.', true)
        expect(Buffer.from(bytes ?? []).equals(Buffer.from(chatBody(chat)))).toBe(true)
      }),
      { numRuns: 15 },
    )
  })

  it('[BODY8] a small or large body that exceeds the limit after rewriting for a worker is refused', () => {
    const chat = chatOf(['"'.repeat(100_000)])
    const length = Buffer.byteLength(chatBody(chat))
    for (const large of [true, false]) {
      expect(chatBytes(chat, length, 'mark.', large)?.byteLength).toBe(length)
      expect(chatBytes(chat, length - 1, 'mark.', large)).toBeUndefined()
    }
  })

  it('[KNOWN1] a confirmed key is known for a limited time, for one secret, and the number of known keys is bounded', () => {
    const keys = new KnownKeys()
    const key = (keyId: string, secretHash = 'h') => ({ tenantId: 't', keyId, secretHash })
    const { keyKnownMs, keysKnown } = budgets
    keys.confirm(key('a'), 1_000, null)
    expect(keys.good(key('a'), 1_000 + keyKnownMs.value - 1)).toBe(true)
    expect(keys.good(key('a'), 1_000 + keyKnownMs.value)).toBe(false)
    expect(keys.good(key('a', 'other'), 1_000)).toBe(false)
    expect(keys.good(key('b'), 1_000)).toBe(false)
    // The clock is set back by a day.
    expect(keys.good(key('a'), 1_000 - 86_400_000)).toBe(false)
    keys.confirm(key('e'), 1_000, 1_005)
    expect([keys.good(key('e'), 1_004), keys.good(key('e'), 1_005)]).toEqual([true, false])
    keys.drop(key('a'))
    expect(keys.good(key('a'), 1_000)).toBe(false)
    for (let n = 0; n <= keysKnown.value; n++) keys.confirm(key(`k${n}`), 1_000, null)
    expect(keys.good(key('k0'), 1_001)).toBe(false)
    expect(keys.good(key(`k${keysKnown.value}`), 1_001)).toBe(true)
  })

  it('[LIN1] reading media takes linear time for any base64', () => {
    const hostile = [
      `${'='.repeat(256 * 1024)}A`,
      `${' '.repeat(256 * 1024)}A`,
      `A${'=A'.repeat(128 * 1024)}`,
      '-'.repeat(300_000),
    ]
    const startedAt = performance.now()
    for (const data of hostile) {
      measureMedia([{ content: [imageByData(data)] }])
      documentBy(`data:text/plain;base64,${data}`, 'x')
      documentBy(data, 'x')
    }
    // An earlier regular expression took 140 s for the first text.
    expect(performance.now() - startedAt).toBeLessThan(3_000)
  })

  it('[TXT1] no NUL and no lone surrogate reaches a prompt through any field', () => {
    expect(documentBy('https://a.test/b.pdf', 'na\0me\ud800')).toMatchObject({ part: { name: 'na me\ufffd' } })
    expect(unsealThinking(`tm1.${Buffer.from([0xed, 0xa0, 0x80]).toString('base64url')}`)).toBeUndefined()
    expect(unsealThinking(`tm1.${Buffer.from('ab').toString('base64url')}`)).toBe('ab')
    const sealed = `tm1.${Buffer.from('a\0b').toString('base64url')}`
    const items = [
      { type: 'reasoning', summary: [], encrypted_content: sealed },
      { role: 'user', content: [{ type: 'input_file', file_data: 'data:text/plain;base64,YQBi' }] },
    ]
    const read = readResponses({ model: 'm', input: items }, noPreviousTurns)
    expect(read).toMatchObject({
      parsed: { chat: { messages: [{ content: [{ text: 'a\ufffdb' }] }, { content: [{ text: 'a\ufffdb' }] }] } },
    })
    const ask = (stop: unknown) => readChat({ model: 'm', messages: [{ role: 'user', content: 'a' }], stop })
    for (const stop of ['a\0', ['b', '\ud800']]) expect(ask(stop)).toMatchObject({ ok: false, code: 'invalid_value' })
    expect(ask(['b', '😀'])).toMatchObject({ ok: true })
  })
})

function chatOf(texts: string[]): Chat {
  return {
    model: 'm',
    messages: [
      { role: 'user', content: texts.map((text) => ({ kind: 'text' as const, text })) },
      {
        role: 'assistant',
        content: [{ kind: 'thinking', text: texts[0] ?? '', closed: true }],
        toolCalls: [{ id: 'a', name: 'f', arguments: texts.join('') }],
        prefix: false,
      },
    ],
    tools: [{ name: 'f', description: texts.at(-1) ?? '', parameters: { a: texts }, strict: false }],
    toolChoice: { kind: 'auto' },
    parallelToolCalls: true,
    format: { kind: 'text' },
    effort: undefined,
    temperature: undefined,
    topP: undefined,
    seed: undefined,
    frequencyPenalty: undefined,
    presencePenalty: undefined,
    stop: [],
    outputTokensMax: 5,
    stream: false,
    includeUsage: false,
  }
}
