/**
 * The embedded engine: llama.cpp in a child process, under our own scheduler.
 *
 * This side does all that is text: it renders prompts, chooses what may be sampled, and turns ids back into events. The
 * child (child.ts) turns text into ids and computes. The lifecycle core says when the child is started, given up on
 * or ended; this shell performs it.
 */
import { availableParallelism } from 'node:os'
import type { Chat } from '../../backends/protocol/chat.ts'
import type { EffortWord } from '../../backends/protocol/effort.ts'
import {
  type Engine,
  type EngineDescription,
  EngineFailure,
  type EngineLoad,
  type EngineRefusal,
  type EngineState,
  type Prepared,
  type Run,
  type RunOptions,
} from './engine.ts'
import { type Child, forkChild } from './fork.ts'
import { born, embeddedRules, type Life, type LifeEffect, type LifeEvent, live, stateOf } from './lifecycle.ts'
import type { FromChild, LoadOptions, Rules, StepReport } from './messages.ts'
import { type ModelFile, readModelFile } from './model-file.ts'
import { createOpenRun, type OpenRun } from './open-run.ts'
import { type Draft, draftPrompt, overflow, settleRules } from './prompt.ts'
import { samplingOf } from './rules.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface EmbeddedOptions {
  modelPath: string
  /** Requests that may run at once. */
  slotsMax: number
  /** Longest prompt plus output of one request; the cache holds this for every slot. */
  contextTokens: number
  /** Most tokens in one engine step. */
  batchTokens: number
  /** Most prompt tokens between two tokens of somebody else's answer. */
  prefillChunkTokens?: number
  threads?: number
  gpu: false | 'auto'
  log: (line: string) => void
  fork?: (log: (line: string) => void) => Child
  random?: () => number
}

/** What `prepare` leaves for `run`. */
interface Prompt {
  tokens: Uint32Array
  rules: Rules
  vocabulary: Vocabulary
}

type Tokens = Extract<FromChild, { kind: 'tokens' }>

interface Asked {
  resolve(answer: Tokens): void
  reject(error: Error): void
}

export function createEmbeddedEngine(options: EmbeddedOptions): Engine {
  return new EmbeddedEngine(options)
}

class EmbeddedEngine implements Engine {
  readonly #options: EmbeddedOptions
  readonly #random: () => number
  readonly #runs = new Map<number, OpenRun>()
  readonly #asked = new Map<number, Asked>()
  readonly #load: EngineLoad
  #life: Life = born.life
  #child: Child | undefined
  #timer: NodeJS.Timeout | undefined
  #file: ModelFile | undefined
  #version = ''
  #ids = 0
  #start: PromiseWithResolvers<void> | undefined

  constructor(options: EmbeddedOptions) {
    this.#options = options
    this.#random = options.random ?? Math.random
    this.#load = {
      running: 0,
      kvTokens: 0,
      kvTokensMax: options.slotsMax * options.contextTokens,
      promptTokensTotal: 0,
      cachedTokensTotal: 0,
      outputTokensTotal: 0,
      restartsTotal: 0,
    }
  }

  get state(): EngineState {
    return stateOf(this.#life)
  }

  get description(): EngineDescription {
    if (!this.#file) throw new Error('the engine is described once start has resolved')
    return {
      engine: 'llama.cpp',
      version: this.#version,
      modelName: this.#file.name,
      architecture: this.#file.architecture,
      contextTokens: this.#options.contextTokens,
      slotsMax: this.#options.slotsMax,
      vision: false,
    }
  }

  start(): Promise<void> {
    if (this.#start) return this.#start.promise
    this.#start = Promise.withResolvers()
    try {
      if (this.#life.kind === 'closed') throw this.#down()
      this.#file = readModelFile(this.#options.modelPath)
      const { contextTokens } = this.#file
      if (contextTokens > 0 && contextTokens < this.#options.contextTokens)
        this.#options.log(`engine: the model was made for ${contextTokens} tokens, and slots hold more`)
      for (const effect of born.effects) this.#perform(effect)
    } catch (error) {
      if (this.#life.kind !== 'closed') this.#life = { kind: 'failed', reason: (error as Error).message }
      this.#start.reject(error)
    }
    return this.#start.promise
  }

  async prepare(chat: Chat, effort: EffortWord): Promise<Prepared | EngineRefusal> {
    const { vocabulary } = this.#ready()
    const draft = draftPrompt(chat, effort, vocabulary)
    if (!draft.ok) return draft
    const { tokens, badGrammars } = await this.#tokenise(draft)
    const settled = settleRules(chat, draft.rules, badGrammars, vocabulary)
    if (!settled.ok) return settled
    const outputTokensFit = this.#options.contextTokens - tokens.length
    if (outputTokensFit < 1) return overflow(tokens.length, this.#options.contextTokens)
    const prompt: Prompt = { tokens, rules: settled.rules, vocabulary }
    return { ok: true, promptTokens: tokens.length, outputTokensFit, chat, effort, prompt }
  }

  run(prepared: Prepared, options: RunOptions, signal: AbortSignal): Run {
    const id = ++this.#ids
    const { chat, effort } = prepared
    const { tokens, rules, vocabulary } = prepared.prompt as Prompt
    const child = this.#child
    const run = createOpenRun(vocabulary, chat.stop, tokens.length, () => child?.send({ kind: 'abort', id }))
    if (signal.aborted || this.#life.kind !== 'ready') {
      if (signal.aborted) run.over('abort')
      else run.fail(this.#down())
      return run
    }
    this.#runs.set(id, run)
    this.#load.running = this.#runs.size
    signal.addEventListener('abort', run.abort, { once: true })
    run.closed.then(() => signal.removeEventListener('abort', run.abort))
    const sampling = samplingOf(chat, effort, this.#random())
    const outputTokensMax = Math.min(options.outputTokensMax, prepared.outputTokensFit)
    child?.send({
      kind: 'run',
      id,
      job: { tokens, sampling, rules, outputTokensMax, priority: options.priority, owner: options.owner },
    })
    return run
  }

  load(): EngineLoad {
    return { ...this.#load }
  }

  childPids(): readonly number[] {
    const pid = this.#child?.pid
    return pid === undefined ? [] : [pid]
  }

  renew(): void {
    this.#happened({ kind: 'restart' })
  }

  async close(): Promise<void> {
    const child = this.#child
    this.#happened({ kind: 'close' })
    await child?.exited
  }

  #ready(): ModelFile {
    if (this.#life.kind === 'ready' && this.#file) return this.#file
    throw this.#down()
  }

  #down(): EngineFailure {
    return new EngineFailure(this.#life.kind === 'failed' ? this.#life.reason : `the engine is ${this.state}`)
  }

  #tokenise({ pieces, grammars }: Draft): Promise<Tokens> {
    const id = ++this.#ids
    const { promise, resolve, reject } = Promise.withResolvers<Tokens>()
    this.#asked.set(id, { resolve, reject })
    this.#child?.send({ kind: 'tokenise', id, pieces, grammars })
    return promise
  }

  #happened(event: LifeEvent): void {
    const before = this.#life
    const { life, effects } = live(before, event, embeddedRules(this.#options.modelPath))
    this.#life = life
    if (life.kind !== before.kind && life.kind === 'restarting') this.#load.restartsTotal++
    for (const effect of effects) this.#perform(effect)
  }

  #perform(effect: LifeEffect): void {
    switch (effect.kind) {
      case 'spawn':
        this.#timer = setTimeout(() => this.#spawn(), effect.afterMs)
        return
      case 'kill':
        clearTimeout(this.#timer)
        this.#child?.kill()
        return
      case 'failRuns':
        this.#failAll(new EngineFailure(effect.reason))
        return
      case 'started':
        this.#start?.resolve()
        return
      case 'startFailed':
        this.#start?.reject(new EngineFailure(effect.reason))
    }
  }

  #spawn(): void {
    const { log, fork = forkChild } = this.#options
    const child = fork(log)
    this.#child = child
    // A message may come in after its sender's end was noticed; its runs have failed by then.
    child.onMessage((message) => this.#child === child && this.#heard(message))
    child.exited.then((death) => {
      this.#child = undefined
      if (this.#life.kind !== 'closed') log(`engine: the child ended (${death.signal ?? `exit code ${death.code}`})`)
      this.#happened({ kind: 'exited', death })
    })
    child.send({ kind: 'load', options: loadOptions(this.#options) })
  }

  #heard(message: FromChild): void {
    switch (message.kind) {
      case 'ready':
        this.#version = message.version
        this.#happened({ kind: 'loaded' })
        return
      case 'refused':
        this.#happened({ kind: 'refused', reason: message.reason })
        return
      case 'tokens':
        this.#asked.get(message.id)?.resolve(message)
        this.#asked.delete(message.id)
        return
      case 'step':
        this.#stepped(message.report)
    }
  }

  #stepped(report: StepReport): void {
    const load = this.#load
    load.kvTokens = report.kvTokens
    forPairs(report.cached, (id, tokens) => {
      load.promptTokensTotal += tokens
      load.cachedTokensTotal += tokens
      this.#runs.get(id)?.cached(tokens)
    })
    forPairs(report.prefilled, (id, tokens) => {
      load.promptTokensTotal += tokens
      this.#runs.get(id)?.prefilled(tokens)
    })
    forPairs(report.sampled, (id, token) => {
      load.outputTokensTotal++
      this.#runs.get(id)?.sampled(token)
    })
    for (const { id, reason } of report.ended) {
      const run = this.#runs.get(id)
      this.#runs.delete(id)
      run?.over(reason)
      if (reason !== 'abort' && reason !== 'failed') this.#happened({ kind: 'finished' })
    }
    load.running = this.#runs.size
  }

  #failAll(failure: EngineFailure): void {
    for (const asked of this.#asked.values()) asked.reject(failure)
    for (const run of this.#runs.values()) run.fail(failure)
    this.#asked.clear()
    this.#runs.clear()
    this.#load.running = 0
    this.#load.kvTokens = 0
  }
}

function loadOptions(options: EmbeddedOptions): LoadOptions {
  const { modelPath, slotsMax, contextTokens, batchTokens, gpu } = options
  return {
    modelPath,
    slotsMax,
    contextTokens,
    // Every running answer needs its token in each step.
    batchTokens: Math.max(batchTokens, slotsMax),
    prefillChunkTokens: options.prefillChunkTokens ?? 128,
    // One core stays free: the library's threads wait for each other by spinning, and one that is kept waiting
    // by another process holds up all.
    threads: options.threads ?? Math.max(1, availableParallelism() - 1),
    gpu,
  }
}

function forPairs(pairs: readonly number[], each: (id: number, value: number) => void): void {
  for (let index = 0; index + 1 < pairs.length; index += 2) each(pairs[index] ?? 0, pairs[index + 1] ?? 0)
}
