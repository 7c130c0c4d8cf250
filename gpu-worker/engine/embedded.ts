/**
 * The embedded engine: llama.cpp in a child process, under our own scheduler.
 *
 * This process handles the text: it renders prompts, selects which tokens may be sampled, and turns ids into events.
 * The child (child.ts) tokenises and computes. The lifecycle core (lifecycle.ts) decides when to start, abandon or end
 * the child; this shell performs it. A third process compiles schemas (grammar-service.ts). A watchdog (child-watch.ts)
 * ends a child that is silent, stuck or uses too much memory.
 */
import { availableParallelism } from 'node:os'
import { withEngineNames } from '../../backends/contract/tool-names.ts'
import { embedded as backend } from '../../backends/engines/embedded.ts'
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat } from '../../backends/model/chat.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { type ChildWatch, watchChild } from './child-watch.ts'
import {
  clientLeft,
  type Engine,
  type EngineDescription,
  EngineFailure,
  type EngineLoad,
  type EngineRefusal,
  type EngineState,
  type Prepared,
  preparationFailed,
  type Run,
  type RunOptions,
  servedBy,
} from './engine.ts'
import { type Child, forkChild } from './fork.ts'
import type { Grammars } from './grammar.ts'
import { GrammarService } from './grammar-service.ts'
import { type EngineLife, embeddedRules, initial, type LifeEffect, type LifeEvent, live, stateOf } from './lifecycle.ts'
import { engineMemoryMax } from './memory-limit.ts'
import type { FromChild, LoadOptions, Rules, StepReport } from './messages.ts'
import { type ModelFile, readModelFile } from './model-file.ts'
import { createOpenRun, type OpenRun } from './open-run.ts'
import { partsOf, wordCharactersMax } from './pieces.ts'
import { cannotBePrepared, type Draft, draftPrompt, errorName, overflow } from './prompt.ts'
import { callable, grammarJob, rulesOf, samplingOf } from './rules.ts'
import { runRefusal } from './run-refusal.ts'
import { everydayChat } from './try-chat.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface EmbeddedOptions {
  modelPath: string
  /** Maximum concurrent requests. */
  slotsMax: number
  /** Maximum of prompt plus output of one request; the KV cache holds this many tokens for every slot. */
  contextTokens: number
  /** Maximum tokens in one engine step. */
  batchTokens: number
  /** Maximum prompt tokens in a step in which other requests decode. */
  prefillChunkTokens?: number
  threads?: number
  gpu: false | 'auto'
  /** Memory limit of the child; null or absent derives it from the model and the slots. */
  memoryBytesMax?: number | null
  /** Limits of the watchdog and of one preparation, in milliseconds. Defaults are in `budgets`. */
  times?: Partial<EmbeddedTimes>
  log: (line: string) => void
  fork?: (log: (line: string) => void) => Child
  random?: () => number
}

interface EmbeddedTimes {
  silentMs: number
  loadSilentMs: number
  stuckMs: number
  prepareMs: number
}

const defaultTimes: EmbeddedTimes = {
  silentMs: budgets.engineSilentMs.value,
  loadSilentMs: budgets.engineLoadSilentMs.value,
  stuckMs: budgets.engineStuckMs.value,
  prepareMs: budgets.prepareMs.value,
}

/** The result that `prepare` passes to `run`. */
interface PreparedPrompt {
  tokens: Uint32Array
  rules: Rules
  vocabulary: Vocabulary
  /** The tools that the answer may call, by the engine's names. */
  tools: readonly string[]
  clientNames: ReadonlyMap<string, string>
}

type Tokens = Extract<FromChild, { kind: 'tokens' }>

interface PendingTokenise {
  resolve(answer: Tokens): void
  reject(error: Error): void
}

/** The tokens of a prompt. Tokens above the context are counted, not stored. */
interface CountedPrompt {
  tokens: Uint32Array
  count: number
  /** Whether the whole prompt was counted. Counting stops far above the context, because that work is not billed. */
  complete: boolean
}

/** Ends a preparation early with a refusal. Internal to this file. */
class Unprepared extends Error {
  readonly refusal: EngineRefusal
  constructor(refusal: EngineRefusal) {
    super(refusal.message)
    this.refusal = refusal
  }
}

export function createEmbeddedEngine(options: EmbeddedOptions): Engine {
  return new EmbeddedEngine(options)
}

class EmbeddedEngine implements Engine {
  readonly #options: EmbeddedOptions
  readonly #random: () => number
  readonly #runs = new Map<number, { run: OpenRun; bound: boolean }>()
  readonly #grammars: GrammarService
  readonly #times: EmbeddedTimes
  #watch: ChildWatch | undefined
  /** Why the watchdog ended the last child. Cleared when the next child is ready. */
  #ended: string | undefined
  /** True while a requested restart fails the open requests. */
  #restarting = false
  readonly #tokenising = new Map<number, PendingTokenise>()
  readonly #load: EngineLoad
  #life: EngineLife = initial.life
  #child: Child | undefined
  #timer: NodeJS.Timeout | undefined
  #file: ModelFile | undefined
  #version = ''
  #ids = 0
  #start: PromiseWithResolvers<void> | undefined
  /** True while a loaded child answers its first chat. */
  #trying = false

  constructor(options: EmbeddedOptions) {
    this.#options = options
    this.#random = options.random ?? Math.random
    this.#times = { ...defaultTimes, ...options.times }
    this.#grammars = new GrammarService(options.log)
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

  get reason(): string {
    return this.#ended === undefined ? this.#down().message : `the engine ${this.#ended}; it is ${this.state}`
  }

  get description(): EngineDescription {
    return {
      engine: 'llama.cpp',
      version: this.#version || 'of unknown version',
      modelName: this.#file?.name ?? this.#options.modelPath,
      architecture: this.#file?.architecture ?? 'not known yet',
      contextTokens: this.#options.contextTokens,
      slotsMax: this.#options.slotsMax,
      vision: false,
      images: backend.capabilities.images,
      capabilities: servedBy(backend.capabilities),
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
        this.#options.log(
          `engine: the model supports ${contextTokens} tokens of context, less than the configured slot size`,
        )
      for (const effect of initial.effects) this.#perform(effect)
    } catch (error) {
      if (this.#life.kind !== 'closed') this.#life = { kind: 'failed', reason: (error as Error).message }
      this.#start.reject(error)
    }
    return this.#start.promise
  }

  async prepare(chat: Chat, effort: EffortWord, signal?: AbortSignal): Promise<Prepared | EngineRefusal> {
    const file = this.#ready()
    const stop = new AbortController()
    const left = () => stop.abort(new Unprepared(clientLeft))
    const timer = setTimeout(() => stop.abort(new Unprepared(tooSlow(this.#times.prepareMs))), this.#times.prepareMs)
    signal?.addEventListener('abort', left, { once: true })
    if (signal?.aborted) left()
    try {
      return await this.#prepare(chat, effort, file, stop.signal)
    } catch (error) {
      if (error instanceof Unprepared) return error.refusal
      if (error instanceof EngineFailure) throw error
      // The request caused this exception, so only it fails. The message may contain the client's text: do not log it.
      const place = error instanceof Error ? (error.stack?.match(/^ +at .*$/m)?.[0].trim() ?? '') : ''
      this.#options.log(`engine: preparing a request failed (${errorName(error)} ${cleanText(place, 200)})`)
      return cannotBePrepared(error)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', left)
    }
  }

  async #prepare(
    given: Chat,
    effort: EffortWord,
    { vocabulary, tokenizerFamily }: ModelFile,
    signal: AbortSignal,
  ): Promise<Prepared | EngineRefusal> {
    signal.throwIfAborted()
    // As for engines over HTTP, so that a history has the same prompt on all engines.
    const { chat, clientNames } = withEngineNames(given)
    const draft = draftPrompt(chat, effort, vocabulary, wordCharactersMax(tokenizerFamily))
    if (!draft.ok) return draft
    const job = grammarJob(chat, vocabulary, clientNames)
    if (job && 'ok' in job) return job
    const none: Grammars = { ok: true, content: null, call: null, warnings: [] }
    const grammars = job ? await ending(this.#grammars.compile(job, signal), signal) : none
    if (!grammars.ok) return grammars
    const { tokens, count, complete } = await this.#count(draft, signal)
    const outputTokensFit = this.#options.contextTokens - count
    if (outputTokensFit < 1) return overflow(count, this.#options.contextTokens, complete)
    const rules = rulesOf(chat, effort, vocabulary, grammars)
    const tools = callable(chat).map(({ name }) => name)
    const prompt: PreparedPrompt = { tokens, rules, vocabulary, tools, clientNames }
    const { warnings } = grammars
    return { ok: true, promptTokens: count, outputTokensFit, chat: given, effort, prompt, warnings }
  }

  run(prepared: Prepared, options: RunOptions, signal: AbortSignal): Run {
    const id = ++this.#ids
    const { chat, effort } = prepared
    const { tokens, rules, vocabulary, tools, clientNames } = prepared.prompt as PreparedPrompt
    const child = this.#child
    const run = createOpenRun({
      answer: { vocabulary, stop: chat.stop, tools, clientNames, inThinking: rules.inThinking },
      promptTokens: tokens.length,
      askToStop: () => child?.send({ kind: 'abort', id }),
      refusalOf: (reason) => runRefusal(reason, chat, rules),
    })
    if (signal.aborted || !this.#computes()) {
      if (signal.aborted) run.over('abort')
      else run.fail(this.#down())
      return run
    }
    this.#runs.set(id, { run, bound: rules.content !== null || rules.call !== null })
    this.#counted()
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
    this.#restarting = true
    this.#happened({ kind: 'restart' })
    this.#restarting = false
  }

  async close(): Promise<void> {
    const child = this.#child
    this.#happened({ kind: 'close' })
    this.#grammars.close()
    await child?.exited
  }

  #ready(): ModelFile {
    if (this.#life.kind === 'ready' && this.#file) return this.#file
    throw this.#down()
  }

  /** Ready, or in its first chat. */
  #computes(): boolean {
    return this.#life.kind === 'ready' || this.#trying
  }

  #down(): EngineFailure {
    return new EngineFailure(this.#life.kind === 'failed' ? this.#life.reason : `the engine is ${this.state}`)
  }

  /** Sends the prompt in parts, so that the child never holds more than one part of a request. */
  async #count({ pieces }: Draft, signal: AbortSignal): Promise<CountedPrompt> {
    const parts: Uint32Array[] = []
    const countMax = this.#options.contextTokens * budgets.countedContexts.value
    let count = 0
    for (const part of partsOf(pieces, budgets.tokeniseCharacters.value)) {
      const { tokens } = await this.#tokenise(part, signal)
      count += tokens.length
      if (count > countMax) return { tokens: joined([]), count, complete: false }
      if (count <= this.#options.contextTokens) parts.push(tokens)
    }
    return { tokens: joined(parts), count, complete: true }
  }

  async #tokenise(pieces: (number | string)[], signal: AbortSignal): Promise<Tokens> {
    const child = this.#child
    if (!child || !this.#computes()) throw new Unprepared(preparationFailed('its process ended'))
    const id = ++this.#ids
    const { promise, resolve, reject } = Promise.withResolvers<Tokens>()
    this.#tokenising.set(id, { resolve, reject })
    child.send({ kind: 'tokenise', id, pieces })
    try {
      return await ending(promise, signal)
    } finally {
      if (this.#tokenising.delete(id)) child.send({ kind: 'forget', id })
    }
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
        this.#failAll(effect.reason)
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
    const watch = watchChild(child.pid, this.#limits())
    this.#watch = watch
    // A message can arrive after the child's exit event; by then the runs of that child have failed.
    child.onMessage((message) => this.#child === child && this.#heard(message))
    child.exited.then((death) => {
      this.#child = undefined
      this.#trying = false
      this.#watch = undefined
      this.#ended = watch.end()
      const how = this.#ended ?? `ended (${death.signal ?? `exit code ${death.code}`})`
      if (this.#life.kind !== 'closed') log(`engine: the child ${how}`)
      if (this.#ended !== undefined) this.#happened({ kind: 'stalled', reason: this.#ended })
      this.#happened({ kind: 'exited', death })
    })
    child.send({ kind: 'load', options: loadOptions(this.#options, this.#file?.vocabularySize) })
  }

  #limits() {
    const { modelPath, slotsMax, contextTokens, memoryBytesMax } = this.#options
    const { batchTokens } = loadOptions(this.#options)
    const file = this.#file ?? readModelFile(modelPath)
    const { vocabularySize: vocabulary, fileBytes, cacheBytesPerToken } = file
    const needs = { fileBytes, cacheBytesPerToken, vocabulary, slotsMax, contextTokens, batchTokens }
    return { ...this.#times, memoryBytesMax: memoryBytesMax ?? engineMemoryMax(needs) }
  }

  #heard(message: FromChild): void {
    this.#watch?.beat(message.kind === 'alive' ? message.steps : undefined)
    switch (message.kind) {
      case 'alive':
        return
      case 'ready':
        this.#watch?.loaded()
        this.#ended = undefined
        this.#version = message.version
        void this.#tryOut(this.#child)
        return
      case 'refused':
        this.#happened({ kind: 'refused', reason: message.reason })
        return
      case 'tokens':
        this.#tokenising.get(message.id)?.resolve(message)
        this.#tokenising.delete(message.id)
        return
      case 'step':
        this.#stepped(message.report)
    }
  }

  /** A child is ready after one chat of one token: loading shows neither that the template nor the graph works. */
  async #tryOut(child: Child | undefined): Promise<void> {
    const { promptTokensTotal, cachedTokensTotal, outputTokensTotal } = this.#load
    this.#trying = true
    const why = await this.#chatOnce().catch((error: Error) => error.message)
    // The child ended in the meantime, and another may be in its own first chat.
    if (this.#child !== child || child === undefined) return
    this.#trying = false
    // Another event already ends this child.
    if (this.#life.kind !== 'starting' && this.#life.kind !== 'restarting') return
    // The totals are of clients' tokens.
    Object.assign(this.#load, { promptTokensTotal, cachedTokensTotal, outputTokensTotal })
    if (why === undefined) this.#happened({ kind: 'loaded' })
    else this.#happened({ kind: 'refused', reason: `it loads, but fails a chat of one token: ${why}` })
  }

  /** Why the chat failed, or undefined. */
  async #chatOnce(): Promise<string | undefined> {
    const file = this.#file
    if (!file) return 'no model file is read'
    const prepared = await this.#prepare(everydayChat(), 'none', file, new AbortController().signal)
    if (!prepared.ok) return prepared.message
    const terms = { requestId: 'trial', outputTokensMax: 1, priority: 0, owner: '' }
    const { events, counts } = this.run(prepared, terms, new AbortController().signal)
    for await (const _ of events);
    return counts.outputTokens > 0 ? undefined : 'it generated nothing'
  }

  #stepped(report: StepReport): void {
    const load = this.#load
    load.kvTokens = report.kvTokens
    forPairs(report.cached, (id, tokens) => {
      load.promptTokensTotal += tokens
      load.cachedTokensTotal += tokens
      this.#runs.get(id)?.run.cached(tokens)
    })
    forPairs(report.prefilled, (id, tokens) => {
      load.promptTokensTotal += tokens
      this.#runs.get(id)?.run.prefilled(tokens)
    })
    forPairs(report.sampled, (id, token) => {
      load.outputTokensTotal++
      this.#runs.get(id)?.run.sampled(token)
    })
    for (const { id, reason } of report.ended) {
      const ended = this.#runs.get(id)
      this.#runs.delete(id)
      ended?.run.over(reason)
      if (reason !== 'abort' && reason !== 'failed' && reason !== 'costly') this.#happened({ kind: 'finished' })
    }
    this.#counted()
  }

  #counted(): void {
    this.#load.running = this.#runs.size
    this.#watch?.busy(this.#runs.size > 0)
  }

  /**
   * A request in preparation or a run with a grammar may have caused the loss of the child: neither may be retried on
   * another engine. If this engine is closed or restarted on purpose, no request is at fault.
   */
  #failAll(reason: string): void {
    const lost = this.#life.kind !== 'closed' && !this.#restarting
    const refusal = preparationFailed(reason)
    const failure = new EngineFailure(reason)
    for (const pending of this.#tokenising.values()) pending.reject(lost ? new Unprepared(refusal) : failure)
    for (const { run, bound } of this.#runs.values()) {
      if (lost && bound) run.refuse(refusal)
      else run.fail(failure)
    }
    this.#tokenising.clear()
    this.#runs.clear()
    this.#counted()
    this.#load.kvTokens = 0
  }
}

/** Resolves with the promise's value; rejects with the signal's reason if the signal aborts first. */
function ending<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason)
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

function tooSlow(ms: number): EngineRefusal {
  return preparationFailed(`it took longer than ${ms / 1_000} s to prepare`)
}

function joined(parts: readonly Uint32Array[]): Uint32Array {
  const [only] = parts
  if (only && parts.length === 1) return only
  const all = new Uint32Array(parts.reduce((total, part) => total + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** The vocabulary size for which `grammarSharedStacks` is set. A smaller vocabulary takes less time per stack. */
const budgetVocabulary = 131_072

function loadOptions(options: EmbeddedOptions, vocabulary = budgetVocabulary): LoadOptions {
  const { modelPath, slotsMax, contextTokens, batchTokens, gpu } = options
  return {
    modelPath,
    slotsMax,
    contextTokens,
    // Every running request needs one token in each step.
    batchTokens: Math.max(batchTokens, slotsMax),
    prefillChunkTokens: options.prefillChunkTokens ?? 128,
    sharedStacksMax: Math.floor((budgets.grammarSharedStacks.value * budgetVocabulary) / vocabulary),
    // Leave one core free: the library's threads spin while they wait for each other, so one thread that loses its
    // core to another process delays all of them.
    threads: options.threads ?? Math.max(1, availableParallelism() - 1),
    gpu,
  }
}

function forPairs(pairs: readonly number[], each: (id: number, value: number) => void): void {
  for (let index = 0; index + 1 < pairs.length; index += 2) each(pairs[index] ?? 0, pairs[index + 1] ?? 0)
}
