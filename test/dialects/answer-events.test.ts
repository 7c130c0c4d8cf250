/** A worker's stream, split at every byte, always gives the same events. */
import { describe, expect, it } from 'vitest'
import { chunkWriter, completion } from '../../backends/model/chunk.ts'
import { costNano as costOf } from '../../backends/model/money.ts'
import { type AnswerEvent, readStream, readWhole } from '../../src/dialects/answer-events.ts'

const head = {
  id: 'chatcmpl-1',
  created: 5,
  model: 'm',
  effort: { asked: 'high', effective: 'high' },
  rates: { inputNano: 150, cachedNano: 15, outputNano: 600 },
} as const
const counts = { promptTokens: 70, cachedTokens: 20, outputTokens: 15, reasoningTokens: 6 }
const costNano = costOf(counts, head.rates)
const bytesOf = (text: string) => new TextEncoder().encode(text)

/** A worker's stream: comments, thinking, characters of two, three and four bytes, two calls, the end. */
function recorded(includeUsage: boolean, stop?: string): string {
  const chunks = chunkWriter(head, includeUsage)
  return [
    ': waiting, position 1 of 2\n\n',
    chunks.role(),
    ': working on the prompt\n\n',
    chunks.text('reasoning', 'Überlegen… '),
    chunks.text('reasoning', '一二'),
    chunks.text('content', 'naïve 🦊 "quoted"\n\ndata: not an event'),
    chunks.text('content', '\r\n\u2028end'),
    chunks.call({ id: 'abcdefghi', name: 'f', arguments: '{"a":"ü"}' }),
    chunks.call({ id: 'bbcdefghi', name: 'g', arguments: '{}' }),
    chunks.end('tool_calls', counts, stop),
  ].join('')
}

const expected: AnswerEvent[] = [
  { kind: 'beat' },
  { kind: 'beat' },
  { kind: 'text', channel: 'reasoning', text: 'Überlegen… ' },
  { kind: 'text', channel: 'reasoning', text: '一二' },
  { kind: 'text', channel: 'content', text: 'naïve 🦊 "quoted"\n\ndata: not an event' },
  { kind: 'text', channel: 'content', text: '\r\n\u2028end' },
  { kind: 'call', id: 'abcdefghi', name: 'f', arguments: '{"a":"ü"}' },
  { kind: 'call', id: 'bbcdefghi', name: 'g', arguments: '{}' },
  { kind: 'end', finishReason: 'tool_calls', stop: undefined, ...counts, effort: head.effort, costNano },
]

const inPieces = (pieces: Uint8Array[]) => {
  const reader = readStream()
  return pieces.flatMap((piece) => reader.push(piece))
}

describe('reading a worker’s stream', () => {
  it('[ANS1] a stream gives identical events at any cut, with any line ending and usage setting', () => {
    for (const includeUsage of [false, true]) {
      for (const lineEnd of ['\n', '\r\n', '\r']) {
        const bytes = bytesOf(recorded(includeUsage).replaceAll('\n', lineEnd))
        expect(inPieces([bytes])).toEqual(expected)
        for (let at = 1; at < bytes.length; at++)
          expect(inPieces([bytes.subarray(0, at), bytes.subarray(at)]), `${lineEnd} ${at}`).toEqual(expected)
        expect(inPieces([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(expected)
      }
    }
  })

  it('[ANS2] a broken or malformed stream gives all earlier events and no end, at any cut', () => {
    const whole = recorded(false)
    const lost = bytesOf(whole.slice(0, whole.indexOf(chunkWriter(head, false).end('tool_calls', counts))))
    for (let at = 0; at <= lost.length; at += 3)
      expect(inPieces([lost.subarray(0, at), lost.subarray(at)])).toEqual(expected.slice(0, -1))
    for (const data of ['{"error":{"message":"gone"}}', '{"choices":', '{"choices":[{"delta":{"content":5}}]}']) {
      const bytes = bytesOf(`${new TextDecoder().decode(lost)}data: ${data}\n\n${recorded(false)}`)
      for (let at = 0; at <= bytes.length; at += 3) {
        const events = inPieces([bytes.subarray(0, at), bytes.subarray(at)])
        expect(events.slice(0, -1)).toEqual(expected.slice(0, -1))
        expect(events.at(-1)).toMatchObject({ kind: 'broken' })
      }
    }
  })

  it('[ANS3] a non-streaming answer gives the same events, including its stop string', () => {
    const content = 'yes'
    const calls = [{ id: 'abcdefghi', name: 'f', arguments: '{}' }]
    const answer = { content, reasoning: 'so', calls, finishReason: 'stop', stop: 'x"y', counts } as const
    expect(readWhole(`  ${completion(head, answer)}`)).toEqual([
      { kind: 'text', channel: 'reasoning', text: 'so' },
      { kind: 'text', channel: 'content', text: 'yes' },
      { kind: 'call', ...calls[0] },
      { kind: 'end', finishReason: 'stop', ...counts, stop: 'x"y', effort: head.effort, costNano },
    ])
    const streamed = inPieces([bytesOf(chunkWriter(head, false).end('stop', counts, 'x"y'))])
    expect(streamed).toEqual([
      { kind: 'end', finishReason: 'stop', ...counts, stop: 'x"y', effort: head.effort, costNano },
    ])
  })
})
