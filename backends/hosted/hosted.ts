/**
 * What every hosted API's description gives the edge: the events of an answer, in the product's own words. A hosted API
 * counts for itself and signs nothing, so what it says of usage is kept apart from what is known when it says nothing.
 */
import type { FinishReason, WireCall } from '../protocol/chunk.ts'
import type { ErrorCode } from '../protocol/errors.ts'

/** What a hosted API says was used. It may not know how much of the output was reasoning. */
export interface HostedUsage {
  promptTokens: number
  cachedTokens: number
  outputTokens: number
}

export type HostedEvent =
  | { kind: 'text'; channel: 'content' | 'reasoning'; text: string }
  /** A whole call, its arguments as JSON text. */
  | { kind: 'call'; call: WireCall }
  | { kind: 'usage'; usage: HostedUsage }
  /** The answer is whole. Nothing follows. */
  | { kind: 'end'; finishReason: FinishReason }
  /** The answer will never be whole. Nothing follows. */
  | { kind: 'failed'; message: string }

/** Reads an answer as it comes. Text in, events out, no I/O; `end` says that no more text will come. */
export interface HostedReader {
  push(text: string): HostedEvent[]
  end(): HostedEvent[]
}

export interface HostedRequest {
  /** The JSON body. */
  body: string
  /** Of all text that the prompt is made of, in UTF-8; no image's address is in it. */
  textBytes: number
  /** The most that the images and what stands around the messages can take. */
  otherTokensMax: number
  /** What was asked and is not honoured as it was asked. */
  warnings: string[]
}

/** What the client is told of a refusal, by the product's table of codes. */
export interface HostedFailure {
  code: ErrorCode
  message: string
  retryAfterMs: number | null
  /** True where it is the operator who must act: a wrong key, a wrong model, a request that this gateway wrote badly. */
  operator: boolean
}
