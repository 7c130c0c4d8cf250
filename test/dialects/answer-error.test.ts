/** A worker's error in an answer's place, as each dialect's client sees it. */
import { describe, expect, it } from 'vitest'
import { errorBody } from '../../backends/model/errors.ts'
import { parseAnswerError, readAnswerError } from '../../src/chat/first-error.ts'
import { readStream } from '../../src/dialects/answer-events.ts'

const error = JSON.stringify(
  errorBody('invalid_value', 'response_format: no token could follow', 'response_format', 'r'),
)
const bytesOf = (text: string) => new TextEncoder().encode(text)

describe('an answer that is an error', () => {
  it('[PSN8] its first bytes say so, streamed and whole; the beginning of an answer is none', () => {
    for (const text of [error, `data: ${error}\n\n`]) {
      expect(readAnswerError(bytesOf(text))).toMatchObject({ code: 'invalid_value', param: 'response_format' })
    }
    for (const text of ['', ' ', '{"id":"a","object":"chat.completion"}', 'data: {"id":"a"}\n\n', error.slice(0, 30)])
      expect(readAnswerError(bytesOf(text))).toBeUndefined()
  })

  it('[PSN8] a code that is not in the table, and a message without an end, do not reach a client', () => {
    const other = JSON.stringify({ object: 'error', code: '__proto__', message: 'x'.repeat(9_999), param: null })
    expect(parseAnswerError(other)).toMatchObject({ code: 'internal_error' })
    expect(parseAnswerError(other)?.message.length).toBe(1_000)
    expect(parseAnswerError('{"object":"error"}')).toBeUndefined()
  })

  it('[PSN8] in a stream it is the last event, behind all that came before', () => {
    const chunk = 'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
    const events = readStream().push(bytesOf(`${chunk}data: ${error}\n\n${chunk}`))
    expect(events).toEqual([
      { kind: 'text', channel: 'content', text: 'hi' },
      { kind: 'failed', error },
    ])
  })
})
