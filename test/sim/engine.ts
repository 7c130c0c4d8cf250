/**
 * An engine whose tokens come from the request: its last message is a script. Each token names the dispatch that runs,
 * so the client can check that its answer has every token of one dispatch once.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { embedded } from '../../backends/engines/embedded.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { Counts } from '../../backends/model/money.ts'
import {
  clientLeft,
  type Engine,
  type EngineEvent,
  EngineFailure,
  type EngineRefusal,
  EngineRefused,
  type EngineState,
  type Prepared,
  preparationFailed,
  type Run,
  type RunOptions,
  servedBy,
} from '../../gpu-worker/engine/engine.ts'
import type { Random } from './random.ts'

/** The seed's facts about a prompt: the edge only estimates its length. */
export interface Script {
  /** The number of the client's request. */
  serial: number
  promptTokens: number
  cachedTokens: number
  /** Tokens that the model would write without a limit. */
  outputTokens: number
  prepareMs: number
  refuses?: 'before-the-run' | 'preparation' | 'at-once' | 'in-the-run'
}

export function scriptIn(text: string): Script | undefined {
  const found = /<script>(.*?)<\/script>/.exec(text.replaceAll('\\"', '"'))?.[1]
  return found === undefined ? undefined : (JSON.parse(found) as Script)
}

export function textOf(script: Script): string {
  return `<script>${JSON.stringify(script)}</script>`
}

export interface EngineParts {
  random: Random
  vision: boolean
  slotsMax: number
  /** The number of the dispatch that runs for this request. */
  numberOf: (requestId: string) => number
  generated: (requestId: string, counts: Counts) => void
}

export class SimulatedEngine implements Engine {
  readonly description
  state: EngineState = 'ready'
  readonly #parts: EngineParts
  readonly #runs = new Set<() => void>()
  #outputTokensTotal = 0

  constructor(parts: EngineParts) {
    this.#parts = parts
    const names = { engine: 'simulated', version: '1', modelName: 'script', architecture: 'none' }
    this.description = {
      ...names,
      contextTokens: 4_096,
      slotsMax: parts.slotsMax,
      vision: parts.vision,
      images: embedded.capabilities.images,
      capabilities: servedBy(embedded.capabilities),
    }
  }

  start(): Promise<void> {
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.dies()
    return Promise.resolve()
  }

  load() {
    return {
      ...{ running: this.#runs.size, kvTokens: 0, kvTokensMax: 0, promptTokensTotal: 0, cachedTokensTotal: 0 },
      ...{ outputTokensTotal: this.#outputTokensTotal, restartsTotal: 0 },
    }
  }

  /** Everything that the engine does fails. Returns false if there is none. */
  dies(): boolean {
    const runs = [...this.#runs]
    for (const fail of runs) fail()
    return runs.length > 0
  }

  async prepare(chat: Chat, effort: EffortWord, signal?: AbortSignal): Promise<Prepared | EngineRefusal> {
    const script = scriptIn(JSON.stringify(chat.messages))
    if (!script) throw new Error('the request has no script')
    const { died, fail } = this.#mayDie()
    await Promise.race([delay(script.prepareMs), died]).finally(() => this.#runs.delete(fail))
    if (signal?.aborted) return clientLeft
    if (script.refuses === 'preparation') return preparationFailed('it exceeded its time')
    if (script.refuses === 'before-the-run')
      return { ok: false, code: 'context_length_exceeded', message: 'messages: too long', param: 'messages' }
    const { promptTokens } = script
    return { ok: true, promptTokens, outputTokensFit: 1_000, chat, effort, prompt: script }
  }

  run(prepared: Prepared, options: RunOptions, signal: AbortSignal): Run {
    const counts: Counts = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
    return { counts, events: this.#events(prepared, options, signal, counts) }
  }

  #mayDie(): { died: Promise<never>; fail: () => void } {
    const { promise: died, reject } = Promise.withResolvers<never>()
    died.catch(() => undefined)
    const fail = () => reject(new EngineFailure('the engine died'))
    this.#runs.add(fail)
    return { died, fail }
  }

  async *#events(
    prepared: Prepared,
    { requestId, outputTokensMax }: RunOptions,
    signal: AbortSignal,
    counts: Counts,
  ): AsyncGenerator<EngineEvent> {
    const { random, generated, numberOf } = this.#parts
    const script = prepared.prompt as Script
    const refusal: EngineRefusal = { ok: false, code: 'invalid_value', message: 'response_format: no', param: null }
    if (script.refuses === 'at-once') throw new EngineRefused(refusal)
    const { died, fail } = this.#mayDie()
    const pause = (ms: number) => Promise.race([delay(random.int(1, ms)), died])
    const { promptTokens, cachedTokens } = script
    try {
      // The engine reads the prompt in two chunks: a client that disconnects between them pays for one.
      for (const read of [Math.max(cachedTokens, promptTokens >> 1), promptTokens]) {
        await pause(random.chance(0.1) ? 400 : 25)
        if (signal.aborted) return yield { kind: 'end', finishReason: 'abort' }
        counts.promptTokens = read
        counts.cachedTokens = cachedTokens
        generated(requestId, { ...counts })
        yield { kind: 'started' }
      }
      const max = Math.min(outputTokensMax, script.outputTokens)
      while (counts.outputTokens < max) {
        await pause(random.chance(0.05) ? 600 : 60)
        if (signal.aborted) return yield { kind: 'end', finishReason: 'abort' }
        const text = ` ${numberOf(requestId)}:${counts.outputTokens}`
        counts.outputTokens += 1
        this.#outputTokensTotal += 1
        if (counts.outputTokens <= 4) counts.reasoningTokens += 1
        generated(requestId, { ...counts })
        if (script.refuses === 'in-the-run') throw new EngineRefused(refusal, true)
        yield { kind: 'text', channel: counts.outputTokens <= 4 ? 'reasoning' : 'content', text }
      }
      yield { kind: 'end', finishReason: counts.outputTokens < script.outputTokens ? 'length' : 'stop' }
    } finally {
      this.#runs.delete(fail)
    }
  }
}
