/**
 * A worker's answer that is an error, because the request itself ended its run. The error replaces the answer, streamed
 * or not, in the format of Chat Completions.
 */
import { z } from 'zod'
import { type ErrorCode, errorTable } from '../../backends/model/errors.ts'
import { GatewayError } from '../http/errors.ts'

const start = new TextEncoder().encode('{"object":"error"')
const event = new TextEncoder().encode('data: ')
const decoder = new TextDecoder()

const AnswerError = z.object({
  object: z.literal('error'),
  message: z.string(),
  param: z.string().nullable(),
  code: z.string(),
})

/** The error at the start of an answer; undefined for a normal answer. */
export function readAnswerError(bytes: Uint8Array): GatewayError | undefined {
  const from = begins(bytes, event, 0) ? event.length : 0
  return begins(bytes, start, from) ? parseAnswerError(decoder.decode(bytes.subarray(from))) : undefined
}

/** @returns the error in a worker's JSON; undefined for any other text */
export function parseAnswerError(json: string): GatewayError | undefined {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return undefined
  }
  const error = AnswerError.safeParse(value).data
  if (!error) return undefined
  const code = Object.hasOwn(errorTable, error.code) ? (error.code as ErrorCode) : 'internal_error'
  return new GatewayError(code, error.message.slice(0, 4_000), { param: error.param })
}

function begins(bytes: Uint8Array, prefix: Uint8Array, from: number): boolean {
  return bytes.length >= from + prefix.length && prefix.every((byte, index) => bytes[from + index] === byte)
}
