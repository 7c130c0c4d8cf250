/**
 * A run in progress: turns the child's reports into events and live counts.
 *
 * A run that fails because of its own grammar or sampling values rejects with EngineRefused, because any other engine
 * would fail too. The iterator can be used once; stopping early aborts the run. Events are queued for a slow reader,
 * and consecutive text is joined so that the queue stays short.
 */
import type { Counts } from '../../backends/model/money.ts'
import { AnswerParser, type AnswerTerms } from './answer-parser.ts'
import { type EngineEvent, type EngineFailure, type EngineRefusal, EngineRefused, type Run } from './engine.ts'
import type { EndReason } from './messages.ts'

export interface OpenRun extends Run {
  cached(tokens: number): void
  prefilled(tokens: number): void
  sampled(token: number): void
  /** The child has ended the run. */
  over(reason: EndReason): void
  fail(failure: EngineFailure): void
  /** Ends the run for a reason that lies in the request. */
  refuse(refusal: EngineRefusal): void
  /** Sends the child a stop request, once. */
  abort: () => void
  /** Resolves when no more events will follow. */
  closed: Promise<void>
}

export interface OpenRunOptions {
  answer: AnswerTerms
  promptTokens: number
  askToStop: () => void
  /** Returns the refusal of a run that ended irregularly. */
  refusalOf: (reason: 'failed' | 'costly') => EngineRefusal
}

export function createOpenRun({ answer: terms, promptTokens, askToStop, refusalOf }: OpenRunOptions): OpenRun {
  const counts: Counts = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
  const answer = new AnswerParser(terms, counts)
  const closed = Promise.withResolvers<void>()
  const queue = createEventQueue()
  let stopping = false

  function abort(): void {
    if (stopping) return
    stopping = true
    askToStop()
  }

  function close(failure?: Error): void {
    stopping = true
    queue.close(failure)
    closed.resolve()
  }

  return {
    counts,
    events: queue.read(abort),
    abort,
    closed: closed.promise,
    cached(tokens) {
      counts.promptTokens += tokens
      counts.cachedTokens += tokens
    },
    prefilled(tokens) {
      counts.promptTokens += tokens
      if (counts.promptTokens === promptTokens) queue.push({ kind: 'started' })
    },
    sampled(token) {
      for (const event of answer.push([token])) queue.push(event)
      if (answer.stopped) abort()
    },
    over(reason) {
      if (reason === 'failed' || reason === 'costly') return refuse(refusalOf(reason))
      for (const event of answer.end(reason)) queue.push(event)
      close()
    },
    fail: close,
    refuse,
  }

  function refuse(refusal: EngineRefusal): void {
    close(new EngineRefused(refusal, counts.outputTokens > 0))
  }
}

interface EventQueue {
  push(event: EngineEvent): void
  /** After the queued events the iterator ends, or rejects with `failure`. */
  close(failure?: Error): void
  read(onLeave: () => void): AsyncIterable<EngineEvent>
}

function createEventQueue(): EventQueue {
  let events: EngineEvent[] = []
  let wake = Promise.withResolvers<void>()
  let closed = false
  let failure: Error | undefined

  async function* read(onLeave: () => void): AsyncGenerator<EngineEvent> {
    try {
      for (;;) {
        const batch = events
        events = []
        yield* batch
        if (events.length > 0) continue
        if (failure) throw failure
        if (closed) return
        await wake.promise
        wake = Promise.withResolvers()
      }
    } finally {
      onLeave()
    }
  }

  return {
    read,
    push(event) {
      const last = events.at(-1)
      if (event.kind === 'text' && last?.kind === 'text' && last.channel === event.channel) last.text += event.text
      else events.push(event)
      wake.resolve()
    },
    close(cause) {
      closed = true
      failure = cause
      wake.resolve()
    },
  }
}
