/**
 * Translates the worker's bytes into the client's dialect, and stores the response before the client gets its end. A
 * shell around a dialect's writer.
 */

import { type AnswerEnd, errorStart, readStream, readWhole } from '../dialects/answer-events.ts'
import type { DialectFailure, DialectWriter, StoredResponse } from '../dialects/dialect.ts'
import { parseAnswerError } from './first-error.ts'

export interface Transcoder {
  open(promptTokens: number | undefined): string
  /** Text for these bytes of the worker; may be empty. Throws GatewayError when they are an error. */
  push(bytes: Uint8Array): string
  /** The end of a stream. Rejects when the worker's stream was incomplete. */
  end(): Promise<string>
  fail(failure: DialectFailure): string
  /** Takes bytes of a non-streaming answer. Returns its leading white space, which keeps the connection alive. */
  collect(bytes: Uint8Array): string
  /** The collected answer. Rejects when it was incomplete, with GatewayError when it is an error. */
  whole(): Promise<string>
}

/** @param keep stores the answer and resolves to whether it did; never rejects */
export function transcoderOf(writer: DialectWriter, keep: (stored: StoredResponse) => Promise<boolean>): Transcoder {
  const reader = readStream()
  const decoder = new TextDecoder()
  let text = ''
  let end: AnswerEnd | undefined

  const stored = async (end: AnswerEnd) => (writer.toStore ? keep(writer.toStore(end)) : false)

  return {
    open: (promptTokens) => writer.open(promptTokens),
    push(bytes) {
      let out = ''
      for (const event of reader.push(bytes)) {
        if (event.kind === 'broken') throw new Error(event.reason)
        if (event.kind === 'failed')
          throw parseAnswerError(event.error) ?? new Error('the worker sent an unreadable error')
        if (event.kind === 'end') end = event
        else out += writer.part(event)
      }
      return out
    },
    async end() {
      if (!end) throw new Error('the answer ended before it was complete')
      return writer.close(end, await stored(end))
    },
    fail: (failure) => writer.fail(failure),
    collect(bytes) {
      const read = decoder.decode(bytes, { stream: true })
      const blank = text === '' && read.trim() === ''
      if (!blank) text += read
      return blank ? read : ''
    },
    async whole() {
      const error = text.startsWith(errorStart) ? parseAnswerError(text) : undefined
      if (error) throw error
      const [...events] = readWhole(text)
      const end = events.pop()
      if (end?.kind !== 'end') throw new Error('the answer ended before it was complete')
      for (const event of events) if (event.kind !== 'end') writer.part(event)
      return JSON.stringify(writer.whole(end, await stored(end)))
    },
  }
}
