/** An engine that a test scripts, with the same interface as a real engine. */
import { embedded } from '../../backends/engines/embedded.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { anyImage } from '../../backends/model/image.ts'
import type { Counts } from '../../backends/model/money.ts'
import {
  type Engine,
  type EngineDescription,
  type EngineEvent,
  EngineFailure,
  type EngineLoad,
  type EngineRefusal,
  EngineRefused,
  type EngineState,
  type Prepared,
  type Run,
  type RunOptions,
  servedBy,
} from '../../gpu-worker/engine/engine.ts'

export class ScriptedEngine implements Engine {
  description: EngineDescription = {
    engine: 'scripted',
    version: '1',
    modelName: 'script',
    architecture: 'none',
    contextTokens: 4_096,
    slotsMax: 8,
    vision: false,
    images: anyImage,
    capabilities: servedBy(embedded.capabilities),
  }
  state: EngineState = 'ready'
  promptTokens = 10
  outputTokensFit = 1_000
  refusal: EngineRefusal | undefined
  /** The chat of each prepared request. */
  readonly chats: Chat[] = []
  /** The options of each run. */
  readonly runs: RunOptions[] = []
  aborted = 0
  /** Called before each word; a rejection is the engine's failure. */
  step: (index: number) => Promise<void> = () => Promise.resolve()
  words = 5
  /** If set, each run fails with this error instead of starting. */
  runError: Error | undefined
  estimated = false
  warnings: string[] = []
  /** Returns the events for a chat; if unset, the engine answers numbered words. */
  script: ((chat: Chat) => EngineEvent[]) | undefined

  start(): Promise<void> {
    return Promise.resolve()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  load(): EngineLoad {
    return {
      running: 0,
      kvTokens: 0,
      kvTokensMax: 0,
      promptTokensTotal: 0,
      cachedTokensTotal: 0,
      outputTokensTotal: 0,
      restartsTotal: 0,
    }
  }

  prepare(chat: Chat, effort: EffortWord, _signal?: AbortSignal): Promise<Prepared | EngineRefusal> {
    const { promptTokens, outputTokensFit, warnings } = this
    this.chats.push(chat)
    const prepared: Prepared = { ok: true, promptTokens, outputTokensFit, chat, effort, prompt: null, warnings }
    return Promise.resolve(this.refusal ?? prepared)
  }

  run(prepared: Prepared, options: RunOptions, signal: AbortSignal): Run {
    this.runs.push(options)
    const promptTokens = this.runError ? 0 : prepared.promptTokens
    const counts: Counts = { promptTokens, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
    const { script } = this
    const events = script ? this.#scripted(script(prepared.chat), counts) : this.#events(counts, options, signal)
    return { counts, estimated: this.estimated, events }
  }

  async *#scripted(events: EngineEvent[], counts: Counts): AsyncGenerator<EngineEvent> {
    yield { kind: 'started' }
    for (const event of events) {
      if (event.kind !== 'end') counts.outputTokens += 1
      if (event.kind === 'text' && event.channel === 'reasoning') counts.reasoningTokens += 1
      yield event
    }
  }

  async *#events(counts: Counts, options: RunOptions, signal: AbortSignal): AsyncGenerator<EngineEvent> {
    if (this.runError) throw this.runError
    yield { kind: 'started' }
    for (let index = 0; index < this.words; index++) {
      await Promise.race([this.step(index), abortOf(signal)])
      if (signal.aborted) {
        this.aborted += 1
        yield { kind: 'end', finishReason: 'abort' }
        return
      }
      counts.outputTokens += 1
      yield { kind: 'text', channel: 'content', text: `w${index} ` }
      if (counts.outputTokens === options.outputTokensMax) {
        yield { kind: 'end', finishReason: 'length' }
        return
      }
    }
    yield { kind: 'end', finishReason: 'stop' }
  }
}

function abortOf(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

export { EngineFailure, EngineRefused }
