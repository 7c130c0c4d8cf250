/** A worker's error instead of an answer, as the client of each dialect gets it. */
import { describe, expect, it } from 'vitest'
import { errorBody } from '../../backends/model/errors.ts'
import { parseAnswerError, readAnswerError } from '../../src/chat/first-error.ts'
import { readStream } from '../../src/dialects/answer-events.ts'

const error = JSON.stringify(
  errorBody('invalid_value', 'response_format: no token could follow', 'response_format', 'r'),
)
const bytesOf = (text: string) => new TextEncoder().encode(text)

describe('an answer that is an error', () => {
  it('[PSN8] its first bytes identify it, streamed or not, and a normal answer is not taken for one', () => {
    for (const text of [error, `data: ${error}\n\n`]) {
      expect(readAnswerError(bytesOf(text))).toMatchObject({ code: 'invalid_value', param: 'response_format' })
    }
    for (const text of ['', ' ', '{"id":"a","object":"chat.completion"}', 'data: {"id":"a"}\n\n', error.slice(0, 30)])
      expect(readAnswerError(bytesOf(text))).toBeUndefined()
  })

  it('[PSN8] an unknown code and an unbounded message do not reach a client', () => {
    const other = JSON.stringify({ object: 'error', code: '__proto__', message: 'x'.repeat(9_999), param: null })
    expect(parseAnswerError(other)).toMatchObject({ code: 'internal_error' })
    expect(parseAnswerError(other)?.message.length).toBe(1_000)
    expect(parseAnswerError('{"object":"error"}')).toBeUndefined()
  })

  it('[PSN8] in a stream, the error is the last event, after all earlier events', () => {
    const chunk = 'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
    const events = readStream().push(bytesOf(`${chunk}data: ${error}\n\n${chunk}`))
    expect(events).toEqual([
      { kind: 'text', channel: 'content', text: 'hi' },
      { kind: 'failed', error },
    ])
  })
})
