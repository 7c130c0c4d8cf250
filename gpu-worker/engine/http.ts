/**
 * An engine that is a program of its own, spoken to over HTTP through its adapter: one that a supervisor launched, or
 * one that already runs. The adapter says what to call and what answers mean; the supervisor says whether it can be
 * asked; this puts them behind the interface that the worker knows.
 *
 * What the ledger needs and an engine does not tell is found here: the prompt is counted by the engine's tokenizer
 * before anything runs, or bounded from above where it has none; output is counted as it comes; an answer that breaks
 * off is counted by its text. Where a count is not exact the receipt says so.
 */
import type {
  Attached,
  BackendFailure,
  Capabilities,
  HttpBackend,
  Load,
  RequestTerms,
} from '../../backends/contract/backend.ts'
import { promptTokensMax } from '../../backends/contract/prompt-bound.ts'
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { Counts } from '../../backends/model/money.ts'
import { Calls } from './calls.ts'
import { shown } from './compile-budget.ts'
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
  refusalOf,
} from './engine.ts'
import { type HttpRun, type RunTimes, runTimes, startHttpRun } from './http-run.ts'
import type { EngineProcess } from './launch.ts'
import type { LifeRules } from './lifecycle.ts'
import { overflow } from './prompt.ts'
import { type Look, Supervisor, type SupervisorTimes } from './supervisor.ts'

export interface HttpEngineOptions {
  backend: HttpBackend
  /** Where it is, without a trailing slash or `/v1`. */
  url: string
  apiKey: string | null
  /** Launches it, or where somebody else runs it, does nothing. */
  start: () => EngineProcess
  rules: LifeRules
  supervisorTimes: SupervisorTimes
  /** What the flags that it was launched with turn on, and it does not tell. */
  enables?: Partial<Capabilities>
  runTimes?: Partial<RunTimes>
  /** The longest that the engine may take to count a prompt, in milliseconds. */
  prepareMs?: number
  slotsMax: number
  contextTokens: number
  /** A word for each tenant that nobody can guess, or '' where prefixes may be shared by all. */
  saltOf: (owner: string) => string
  log: (line: string) => void
}

const probeMs = 5_000
const versionMax = 40

/** The engine was not there to begin with: nothing of the request has reached it. */
const notReached = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT'])

export function createHttpEngine(options: HttpEngineOptions): Engine {
  return new HttpEngine(options)
}

class HttpEngine implements Engine {
  readonly #options: HttpEngineOptions
  readonly #calls: Calls
  readonly #supervisor: Supervisor
  readonly #times: RunTimes
  readonly #runs = new Set<HttpRun>()
  readonly #totals: Counts = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
  #attached: Attached | undefined
  /** Kept when it goes away: it is described as it was. */
  #known: Attached | undefined
  #load: Load | undefined

  constructor(options: HttpEngineOptions) {
    this.#options = options
    this.#calls = new Calls(options.url, options.apiKey)
    this.#times = { ...runTimes, ...options.runTimes }
    this.#supervisor = new Supervisor({
      rules: options.rules,
      start: () => {
        // Another process may be another version.
        this.#attached = undefined
        return options.start()
      },
      look: (signal) => this.#look(signal),
      times: options.supervisorTimes,
      failRuns: (reason) => this.#failAll(new EngineFailure(reason)),
      log: options.log,
    })
  }

  get state(): EngineState {
    return this.#supervisor.state
  }

  get reason(): string {
    return this.#supervisor.reason
  }

  get description(): EngineDescription {
    const known = this.#known
    if (!known) throw new Error('the engine is described once start has resolved')
    const { backend, slotsMax, contextTokens } = this.#options
    return {
      engine: backend.name,
      // An engine may say anything, and receipts have room for so much.
      version: known.version.slice(0, versionMax) || 'of unknown version',
      modelName: known.model,
      architecture: 'as the engine has it',
      contextTokens: Math.min(contextTokens, known.contextTokens ?? contextTokens),
      slotsMax: Math.min(slotsMax, known.slotsMax ?? slotsMax),
      vision: known.capabilities.vision,
    }
  }

  start(): Promise<void> {
    return this.#supervisor.start()
  }

  async prepare(chat: Chat, effort: EffortWord, signal?: AbortSignal): Promise<Prepared | EngineRefusal> {
    const { backend } = this.#options
    const attached = this.#ready()
    const { contextTokens } = this.description
    // The bound is set when it runs; what can be refused is refused now.
    const order: RequestTerms = { requestId: 'count', effort, outputTokensMax: 1, priority: 0, cacheSalt: '' }
    const request = backend.request(chat, order, attached)
    if (!request.ok) return refuse(request)
    const counted = await this.#count(chat, order, attached, signal)
    if (typeof counted === 'object') return 'retryAfterMs' in counted ? refuse(counted) : counted
    const promptTokens = counted ?? promptTokensMax(chat, request.call.body)
    if (counted !== undefined && counted >= contextTokens) return overflow(counted, contextTokens)
    return {
      ok: true,
      promptTokens,
      promptEstimated: counted === undefined,
      // A bound may be far above the truth: it must not keep out what fits. The engine knows, and says.
      outputTokensFit: counted === undefined ? contextTokens - 1 : contextTokens - counted,
      ...{ chat, effort, warnings: request.warnings },
      prompt: null,
    }
  }

  run(prepared: Prepared, options: RunOptions, signal: AbortSignal): Run {
    const { backend, saltOf } = this.#options
    const attached = this.#attached
    if (!attached || this.state !== 'ready') return failedRun(new EngineFailure(this.#supervisor.reason))
    const { requestId, priority, owner } = options
    const outputTokensMax = Math.min(options.outputTokensMax, prepared.outputTokensFit)
    const order: RequestTerms = {
      ...{ requestId, outputTokensMax, priority },
      effort: prepared.effort,
      cacheSalt: saltOf(owner),
    }
    const request = backend.request(prepared.chat, order, attached)
    if (!request.ok) return failedRun(new EngineFailure(request.message))
    const run = startHttpRun(
      {
        ...{ backend, order, call: request.call, calls: this.#calls, times: this.#times },
        promptTokens: prepared.promptTokens,
        promptCounted: prepared.promptEstimated !== true,
        countText: async (text, within) => {
          const probe = backend.countText?.(text, attached)
          return probe && this.#calls.probe(probe, within)
        },
        heard: () => this.#supervisor.heard(),
      },
      signal,
    )
    this.#runs.add(run)
    void run.closed.then(() => this.#ended(run))
    return run
  }

  load(): EngineLoad {
    const { contextTokens, slotsMax } = this.#known ? this.description : this.#options
    const kvTokensMax = contextTokens * slotsMax
    const open = [...this.#runs].map((run) => run.counts)
    const sum = (pick: (counts: Readonly<Counts>) => number) => open.reduce((total, counts) => total + pick(counts), 0)
    const kvUsed = this.#load?.kvUsed
    return {
      running: this.#runs.size,
      kvTokens: kvUsed == null ? sum((run) => run.promptTokens + run.outputTokens) : Math.round(kvUsed * kvTokensMax),
      kvTokensMax,
      promptTokensTotal: this.#totals.promptTokens + sum((run) => run.promptTokens),
      cachedTokensTotal: this.#totals.cachedTokens + sum((run) => run.cachedTokens),
      outputTokensTotal: this.#totals.outputTokens + sum((run) => run.outputTokens),
      restartsTotal: this.#supervisor.restartsTotal,
    }
  }

  renew(): void {
    this.#supervisor.restart()
  }

  async close(): Promise<void> {
    await this.#supervisor.close()
    await this.#calls.close()
  }

  #ready(): Attached {
    if (this.#attached && this.state === 'ready') return this.#attached
    throw new EngineFailure(this.#supervisor.reason)
  }

  /** Undefined where the engine cannot say. */
  async #count(
    chat: Chat,
    order: RequestTerms,
    attached: Attached,
    left: AbortSignal | undefined,
  ): Promise<number | BackendFailure | EngineRefusal | undefined> {
    const probe = this.#options.backend.count?.(chat, order, attached)
    if (!probe) return undefined
    const prepareMs = this.#options.prepareMs ?? budgets.prepareMs.value
    const late = AbortSignal.timeout(prepareMs)
    const signal = left ? AbortSignal.any([left, late]) : late
    try {
      return probe.read(await Promise.all(probe.calls.map((call) => this.#calls.ask(call, signal))))
    } catch (cause) {
      if (left?.aborted) return clientLeft
      if (late.aborted)
        return preparationFailed(`the engine took longer than ${prepareMs / 1_000} s to count the prompt`)
      const { code, message } = cause as NodeJS.ErrnoException
      if (code !== undefined && notReached.has(code))
        throw new EngineFailure(`the engine does not count the prompt (${message})`, { cause })
      // The engine took the request and broke off: this prompt may be why.
      return preparationFailed(`the engine did not count the prompt (${shown(message)})`)
    }
  }

  /** Rejects when nobody answers; the first look at a process also finds out who it is. */
  async #look(signal: AbortSignal): Promise<Look> {
    const { backend } = this.#options
    const health = await this.#calls.probe(backend.health, signal)
    if (health === 'down') throw new EngineFailure('the engine does not answer')
    if (health === 'starting') return { kind: 'loading' }
    if (!this.#attached) {
      const refused = await this.#attach()
      if (refused !== undefined) return { kind: 'refused', reason: refused }
    }
    this.#load = await this.#calls.probe(backend.load, signal).catch(() => undefined)
    return { kind: 'ready' }
  }

  /** Why it cannot be used, or undefined. What does not hold is said once, so that nobody finds out by chance. */
  async #attach(): Promise<string | undefined> {
    const { backend, log, contextTokens } = this.#options
    const found = await this.#calls.probe(backend.attach, AbortSignal.timeout(probeMs))
    if (!found) return `what answers is not ${backend.title}: correct TRAMONTANE_BACKEND`
    const attached = { ...found, capabilities: { ...found.capabilities, ...this.#options.enables } }
    const broken = attached.faults.find((fault) => fault.kind === 'broken')
    if (broken) return broken.message
    const again = attached.version === this.#known?.version
    if (!again) for (const fault of attached.faults) log(`engine: ${fault.message}`)
    if (!again && attached.contextTokens !== null && attached.contextTokens < contextTokens)
      log(`engine: it has room for ${attached.contextTokens} tokens a request, not for ${contextTokens}`)
    this.#attached = attached
    this.#known = attached
    return undefined
  }

  #ended(run: HttpRun): void {
    this.#runs.delete(run)
    const { promptTokens, cachedTokens, outputTokens } = run.counts
    this.#totals.promptTokens += promptTokens
    this.#totals.cachedTokens += cachedTokens
    this.#totals.outputTokens += outputTokens
    if (run.whole) this.#supervisor.finished()
  }

  #failAll(failure: EngineFailure): void {
    for (const run of this.#runs) run.fail(failure)
  }
}

function refuse(failure: BackendFailure): EngineRefusal {
  const refusal = refusalOf(failure)
  if (refusal) return refusal
  throw new EngineFailure(failure.message)
}

/** Nothing was asked of the engine. */
function failedRun(failure: EngineFailure): Run {
  return {
    counts: { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 },
    // biome-ignore lint/correctness/useYield: it ends before its first event
    events: (async function* () {
      throw failure
    })(),
  }
}
