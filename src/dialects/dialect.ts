/**
 * A dialect: the format of a client's requests, and of its answers, refusals and rate headers. Pure; `chat.ts` does the
 * I/O.
 */
import type { Chat } from '../../backends/model/chat.ts'
import type { Effort } from '../../backends/model/effort.ts'
import type { ErrorCode } from '../../backends/model/errors.ts'
import type { SchemaPlaces } from '../../backends/model/schema-texts.ts'
import type { RatesLeft } from '../tenant/limits/rates-left.ts'
import type { AnswerEnd, AnswerPart } from './answer-events.ts'
import type { FieldNames } from './field-names.ts'

export interface Dialect {
  name: 'chat' | 'completions' | 'responses' | 'messages' | 'mistral'
  /** Path of the effort in the body. */
  effortField: string
  /** The fields that have another name in Chat Completions; longer paths first. */
  fieldNames: FieldNames
  /** Where the body has schemas. */
  schemaPlaces: SchemaPlaces
  /** The earlier responses and items that the body refers to. The gateway loads them and passes them to `read`. */
  refers?: (body: unknown) => Reference | undefined
  read(body: unknown, previous: PreviousTurns): Read
  /** Reads the body of a token count, if it differs from that of a request. */
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
  /** Path of each message in the client's body. Default: `messages[n]`. */
  fieldPaths?: string[]
  /** Writes the answer. Default: the worker's bytes, unchanged. */
  writer?: (context: EncoderContext) => DialectWriter
}

/** The context in which an answer is written. */
export interface EncoderContext {
  requestId: string
  /** Unix milliseconds. */
  now: () => number
  model: string
  effort: Effort
  /** An estimate, for use before the prompt is counted. */
  promptTokens: number
}

/**
 * Writes an answer in a dialect: events in, text out. Call `open` first, then `part` any number of times, then `close`
 * or `whole`. `fail` may be called at any time, and is the last call.
 */
export interface DialectWriter {
  /** @param promptTokens if known before the answer's end */
  open(promptTokens: number | undefined): string
  part(part: AnswerPart): string
  /** The response to store before the client gets the answer's end. */
  toStore?: (end: AnswerEnd) => StoredResponse
  /** The last events of a stream. */
  close(end: AnswerEnd, kept: boolean): string
  /** The answer of a non-streaming request, from all its parts. */
  whole(end: AnswerEnd, kept: boolean): unknown
  /** The event for an answer that cannot be finished. */
  fail(failure: DialectFailure): string
}

/** An error as a client sees it. */
export interface DialectFailure {
  code: ErrorCode
  message: string
  param: string | null
  requestId: string
}

export interface ErrorShape {
  /** Statuses that differ from the error table. */
  status?: Partial<Record<ErrorCode, number>>
  body(failure: DialectFailure): unknown
  /** The event that ends a stream when no writer has started. */
  event(failure: DialectFailure): string
}

/** Ids from earlier answers. */
export interface Reference {
  previousId: string | undefined
  itemIds: string[]
}

/** The stored turns and items for a reference. */
export interface PreviousTurns {
  /** The earlier turns, oldest first; undefined when one is missing. */
  turns: readonly { input: unknown[]; output: unknown[] }[] | undefined
  items: ReadonlyMap<string, unknown>
}

export const noPreviousTurns: PreviousTurns = { turns: [], items: new Map() }

export interface StoredResponse {
  responseId: string
  previousId: string | undefined
  input: unknown[]
  output: unknown[]
  /** The answer as the client got it. */
  body: unknown
}
