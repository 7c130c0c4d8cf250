/**
 * What a surface is: how one kind of client writes its request, and how it wants its answer, its refusals and its
 * limits told. Pure; the line performs it.
 */
import type { Chat } from '../../backends/model/chat.ts'
import type { Effort } from '../../backends/model/effort.ts'
import type { ErrorCode } from '../../backends/model/errors.ts'
import type { RatesLeft } from '../tenant/admission.ts'
import type { AnswerEnd, AnswerPart } from './answer-events.ts'

export interface Dialect {
  name: 'chat' | 'responses' | 'messages' | 'mistral'
  /** Where the effort stands in its body. */
  effortField: string
  /** What the client refers to and does not send: it is looked up, and given to `read`. */
  refers?: (body: unknown) => Reference | undefined
  read(body: unknown, previous: PreviousTurns): Read
  /** Of a prompt that is only to be counted, where its body is another. */
  readPrompt?: (body: unknown) => Read
  errors: ErrorShape
  rateHeaders(left: RatesLeft, now: number): [string, string][]
}

export type Read =
  | { ok: true; parsed: ParsedRequest }
  | { ok: false; code: ReadCode; message: string; param: string | null }

type ReadCode = 'invalid_value' | 'not_found' | 'previous_response_not_found'

export interface ParsedRequest {
  chat: Chat
  warnings: string[]
  /** Where each message stands in the client's body; where it is not told, in `messages`. */
  fieldPaths?: string[]
  /** How the answer is written; where it is not told, as the worker writes it, byte for byte. */
  writer?: (given: EncoderContext) => DialectWriter
}

/** What an answer is written with besides its events. */
export interface EncoderContext {
  requestId: string
  /** Unix milliseconds. */
  now: () => number
  model: string
  effort: Effort
  /** An estimate: what is told of the prompt's length where it is not yet counted. */
  promptTokens: number
}

/**
 * An answer in a surface's own words: events in, text out. `open` comes first, then any number of `part`s, then either
 * `close` or `whole`, or at any moment `fail`, after which there is nothing.
 */
export interface DialectWriter {
  /** @param promptTokens where they are known before the answer's end */
  open(promptTokens: number | undefined): string
  part(part: AnswerPart): string
  /** What is to be kept of the answer before its end is told. */
  toStore?: (end: AnswerEnd) => StoredResponse
  /** The last events of a stream. */
  close(end: AnswerEnd, kept: boolean): string
  /** The answer of a request that does not stream, from all its parts. */
  whole(end: AnswerEnd, kept: boolean): unknown
  /** The event that says that the answer cannot be finished. */
  fail(failure: DialectFailure): string
}

/** What a client gets to see of a failure. */
export interface DialectFailure {
  code: ErrorCode
  message: string
  param: string | null
  requestId: string
}

export interface ErrorShape {
  /** Where it is not the table's. */
  status?: Partial<Record<ErrorCode, number>>
  body(failure: DialectFailure): unknown
  /** The one event that ends a stream before a writer began. */
  event(failure: DialectFailure): string
}

/** Ids that a client got in earlier answers. */
export interface Reference {
  previousId: string | undefined
  itemIds: string[]
}

/** What of it is there. */
export interface PreviousTurns {
  /** The earlier answers with what led to them, oldest first; undefined where one of them is missing. */
  turns: readonly { input: unknown[]; output: unknown[] }[] | undefined
  items: ReadonlyMap<string, unknown>
}

export const noPreviousTurns: PreviousTurns = { turns: [], items: new Map() }

export interface StoredResponse {
  responseId: string
  previousId: string | undefined
  input: unknown[]
  output: unknown[]
  /** The answer as it was given. */
  body: unknown
}
