/**
 * Between the worker's bytes and a surface's own words: reads the one, lets the other be written, and has kept what is
 * to be kept before an answer's end is told. A shell around a surface's writer.
 */

import { type AnswerEnd, errorStart, readStream, readWhole } from '../dialects/answer-events.ts'
import type { DialectFailure, DialectWriter, StoredResponse } from '../dialects/dialect.ts'
import { parseAnswerError } from './first-error.ts'

export interface Transcoder {
  open(promptTokens: number | undefined): string
  /** What goes out for these bytes of the worker's; may be nothing. Throws GatewayError where they are an error. */
  push(bytes: Uint8Array): string
  /** The last words of a stream. Rejects when the worker's stream was not whole. */
  end(): Promise<string>
  fail(failure: DialectFailure): string
  /** Takes bytes of an answer that does not stream. White space, which shows whether the client is there, goes on. */
  collect(bytes: Uint8Array): string
  /** The collected answer. Rejects when it was not whole, with GatewayError where it is an error. */
  whole(): Promise<string>
}

/** @param keep keeps the answer, and tells whether it did; never rejects */
export function transcoderOf(writer: DialectWriter, keep: (stored: StoredResponse) => Promise<boolean>): Transcoder {
  const reader = readStream()
  const decoder = new TextDecoder()
  let text = ''
  let end: AnswerEnd | undefined

  const kept = async (end: AnswerEnd) => (writer.toStore ? keep(writer.toStore(end)) : false)

  return {
    open: (promptTokens) => writer.open(promptTokens),
    push(bytes) {
      let out = ''
      for (const event of reader.push(bytes)) {
        if (event.kind === 'broken') throw new Error(event.reason)
        if (event.kind === 'failed') throw parseAnswerError(event.error) ?? new Error('not an error of a worker')
        if (event.kind === 'end') end = event
        else out += writer.part(event)
      }
      return out
    },
    async end() {
      if (!end) throw new Error('the answer ended before it was whole')
      return writer.close(end, await kept(end))
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
      if (end?.kind !== 'end') throw new Error('the answer ended before it was whole')
      for (const event of events) if (event.kind !== 'end') writer.part(event)
      return JSON.stringify(writer.whole(end, await kept(end)))
    },
  }
}
