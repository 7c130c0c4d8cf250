/** A worker's stream transcoded into each dialect, split at every byte. */
import { describe, expect, it } from 'vitest'
import { chunkWriter } from '../../backends/model/chunk.ts'
import { transcoderOf } from '../../src/chat/transcoder.ts'
import { messages } from '../../src/dialects/anthropic/dialect.ts'
import { type Dialect, noPreviousTurns } from '../../src/dialects/dialect.ts'
import { mistral } from '../../src/dialects/mistral/dialect.ts'
import { responses } from '../../src/dialects/openai-responses/dialect.ts'

const effort = { asked: 'max', effective: 'high' } as const
const rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }
const chunks = chunkWriter({ id: 'chatcmpl-1', created: 5, model: 'm', effort, rates }, false)
const counts = { promptTokens: 70, cachedTokens: 20, outputTokens: 15, reasoningTokens: 6 }
const recorded = [
  chunks.role(),
  ': working on the prompt\n\n',
  chunks.text('reasoning', 'Überlegen 一二'),
  chunks.text('content', 'naïve 🦊\n\ndata: not an event'),
  chunks.call({ id: 'abcdefghi', name: 'f', arguments: '{"a":"ü"}' }),
  chunks.end('tool_calls', counts),
].join('')

const body = { model: 'm', messages: [{ role: 'user', content: 'hi' }], input: 'hi', max_tokens: 9, stream: true }

async function transcoded(dialect: Dialect, pieces: Uint8Array[]): Promise<string> {
  const read = dialect.read(body, noPreviousTurns)
  const context = { requestId: 'req_1', now: () => 5_000, model: 'm', effort, promptTokens: 9 }
  const writer = read.ok ? read.parsed.writer?.(context) : undefined
  if (!writer) throw new Error('no writer')
  const transcoder = transcoderOf(writer, () => Promise.resolve(true))
  let text = transcoder.open(70)
  for (const piece of pieces) text += transcoder.push(piece)
  return text + (await transcoder.end())
}

describe('translating a stream', () => {
  it.each([responses, messages, mistral])(
    '[POL10] $name: the stream has the same bytes at any cut and with any line ending',
    async (dialect) => {
      const whole = await transcoded(dialect, [new TextEncoder().encode(recorded)])
      expect(whole).toContain('naïve 🦊')
      for (const lineEnd of ['\n', '\r\n', '\r']) {
        const bytes = new TextEncoder().encode(recorded.replaceAll('\n', lineEnd))
        for (let at = 0; at <= bytes.length; at++)
          expect((await transcoded(dialect, [bytes.subarray(0, at), bytes.subarray(at)])) === whole, `${at}`).toBe(true)
      }
    },
  )

  it.each([responses, messages, mistral])(
    '[POL10] $name: a stream that stops early has no end marker',
    async (dialect) => {
      const end = recorded.indexOf(chunks.end('tool_calls', counts))
      const bytes = new TextEncoder().encode(recorded.slice(0, end))
      for (let at = 0; at <= bytes.length; at += 7)
        await expect(transcoded(dialect, [bytes.subarray(0, at)])).rejects.toThrow('before it was complete')
    },
  )
})
