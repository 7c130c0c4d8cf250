/**
 * An engine in a separate program, called over HTTP: launched by the supervisor, or already running. The adapter builds
 * the calls and parses the answers; the supervisor reports whether the engine is ready; this class implements `Engine`.
 *
 * It also obtains the counts that the ledger needs and the engine does not report. The engine's tokenizer counts the
 * prompt before the run; without a tokenizer the prompt gets an upper bound. Output is counted as it arrives, and an
 * answer that breaks off is counted by its text. The receipt marks every count that is not exact.
 */
import {
  type Attached,
  type BackendFailure,
  type Capabilities,
  capabilities,
  type HttpBackend,
  type Load,
  type RequestTerms,
} from '../../backends/contract/backend.ts'
import { promptTokensMax } from '../../backends/contract/prompt-bound.ts'
import { budgets } from '../../backends/model/budgets.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { Counts } from '../../backends/model/money.ts'
import { Calls } from './calls.ts'
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
  servedBy,
} from './engine.ts'
import { type HttpRun, type RunTimes, runTimes, startHttpRun } from './http-run.ts'
import type { EngineProcess } from './launch.ts'
import type { LifeRules } from './lifecycle.ts'
import { overflow } from './prompt.ts'
import { shown } from './schema/compile-budget.ts'
import { type Look, Supervisor, type SupervisorTimes } from './supervisor.ts'
import { tryChat } from './try-chat.ts'

export interface HttpEngineOptions {
  backend: HttpBackend
  /** Base URL, without a trailing slash or `/v1`. */
  url: string
  apiKey: string | null
  /** Launches the engine; does nothing if the engine is run by someone else. */
  start: () => EngineProcess
  rules: LifeRules
  supervisorTimes: SupervisorTimes
  /** Capabilities that the launch flags turn on and the engine does not report. */
  enables?: Partial<Capabilities>
  runTimes?: Partial<RunTimes>
  /** Time limit for the engine to count a prompt, in milliseconds. */
  prepareMs?: number
  /** Time limit for the chat that decides whether the engine is ready, in milliseconds. */
  tryMs?: number
  slotsMax: number
  contextTokens: number
  /** An unguessable salt for each tenant, or '' if all tenants may share prefixes. */
  saltOf: (owner: string) => string
  log: (line: string) => void
}

const probeMs = 5_000
/** The first step of a cold engine may compile kernels. */
const tryMs = 2 * 60_000
const versionMax = 40

/** The connection failed, so no part of the request has reached the engine. */
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
  /** Whether this process has answered an everyday chat. */
  #tried = false
  /** The last known state, kept while the engine is absent so that `description` still works. */
  #known: Attached | undefined
  #load: Load | undefined

  constructor(options: HttpEngineOptions) {
    this.#options = options
    this.#calls = new Calls(options.url, options.apiKey)
    this.#times = { ...runTimes, ...options.runTimes }
    this.#supervisor = new Supervisor({
      rules: options.rules,
      start: () => {
        // The new process may be a different version.
        this.#attached = undefined
        this.#tried = false
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
    const { backend, slotsMax, contextTokens } = this.#options
    const known = this.#known ?? unknownYet
    return {
      engine: backend.name,
      // The engine's string is untrusted, and a receipt limits its length.
      version: known.version.slice(0, versionMax) || 'of unknown version',
      modelName: known.model,
      architecture: 'as the engine has it',
      contextTokens: Math.min(contextTokens, known.contextTokens ?? contextTokens),
      slotsMax: Math.min(slotsMax, known.slotsMax ?? slotsMax),
      vision: known.capabilities.vision,
      images: known.capabilities.images,
      capabilities: servedBy(known.capabilities),
    }
  }

  start(): Promise<void> {
    return this.#supervisor.start()
  }

  async prepare(chat: Chat, effort: EffortWord, signal?: AbortSignal): Promise<Prepared | EngineRefusal> {
    const { backend } = this.#options
    const attached = this.#ready()
    const { contextTokens } = this.description
    // `run` sets the real output bound; build the request now so that it can be refused now.
    const terms: RequestTerms = { requestId: 'count', effort, outputTokensMax: 1, priority: 0, cacheSalt: '' }
    const request = backend.request(chat, terms, attached)
    if (!request.ok) return refuse(request)
    const counted = await this.#count(chat, terms, attached, signal)
    if (typeof counted === 'object') return 'retryAfterMs' in counted ? refuse(counted) : counted
    const promptTokens = counted ?? promptTokensMax(chat, request.call.body)
    if (counted !== undefined && counted >= contextTokens) return overflow(counted, contextTokens)
    return {
      ok: true,
      promptTokens,
      promptEstimated: counted === undefined,
      // An upper bound may be far too high and must not refuse a prompt that fits; the engine refuses it if necessary.
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
    const terms: RequestTerms = {
      ...{ requestId, outputTokensMax, priority },
      effort: prepared.effort,
      cacheSalt: saltOf(owner),
    }
    const request = backend.request(prepared.chat, terms, attached)
    if (!request.ok) return failedRun(new EngineFailure(request.message))
    const run = startHttpRun(
      {
        ...{ backend, order: terms, call: request.call, calls: this.#calls, times: this.#times },
        clientNames: request.clientNames,
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

  /** Undefined if the engine cannot count. */
  async #count(
    chat: Chat,
    terms: RequestTerms,
    attached: Attached,
    left: AbortSignal | undefined,
  ): Promise<number | BackendFailure | EngineRefusal | undefined> {
    const probe = this.#options.backend.count?.(chat, terms, attached)
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
        throw new EngineFailure(`the engine could not be reached to count the prompt (${message})`, { cause })
      // The engine accepted the request and then failed: this prompt may be the cause.
      return preparationFailed(`the engine failed while it counted the prompt (${shown(message)})`)
    }
  }

  /** One health check. Rejects if the engine does not answer. The first check of a process also identifies it. */
  async #look(signal: AbortSignal): Promise<Look> {
    const { backend } = this.#options
    const health = await this.#calls.probe(backend.health, signal)
    if (health === 'down') throw new EngineFailure('the engine does not answer')
    if (health === 'starting') return { kind: 'loading' }
    if (!this.#attached) {
      const refused = await this.#attach()
      if (refused !== undefined) return { kind: 'refused', reason: refused }
    }
    if (!this.#tried && this.#attached) {
      const within = AbortSignal.timeout(this.#options.tryMs ?? tryMs)
      const tried = await tryChat(backend, this.#attached, (call, left) => this.#calls.open(call, left), within)
      if (tried.kind !== 'answered') return tried
      this.#tried = true
    }
    this.#load = await this.#calls.probe(backend.load, signal).catch(() => undefined)
    return { kind: 'ready' }
  }

  /** Returns why the engine cannot be used, or undefined. Logs the limitations of each version once. */
  async #attach(): Promise<string | undefined> {
    const { backend, log, contextTokens } = this.#options
    const found = await this.#calls.probe(backend.attach, AbortSignal.timeout(probeMs))
    if (!found) return `the endpoint is not ${backend.title}. Set TRAMONTANE_BACKEND to the engine that runs there`
    const attached = { ...found, capabilities: { ...found.capabilities, ...this.#options.enables } }
    const broken = attached.faults.find((fault) => fault.kind === 'broken')
    if (broken) return broken.message
    const again = attached.version === this.#known?.version
    if (!again) for (const fault of attached.faults) log(`engine: ${fault.message}`)
    if (!again && attached.contextTokens !== null && attached.contextTokens < contextTokens)
      log(
        `engine: its context is ${attached.contextTokens} tokens per request, less than the configured ${contextTokens}`,
      )
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

/** An engine that has not answered yet. */
const unknownYet = {
  version: '',
  model: 'not known yet',
  contextTokens: null,
  slotsMax: null,
  capabilities: capabilities({}),
}

function refuse(failure: BackendFailure): EngineRefusal {
  const refusal = refusalOf(failure)
  if (refusal) return refusal
  throw new EngineFailure(failure.message)
}

/** A run that failed before the engine was called. */
function failedRun(failure: EngineFailure): Run {
  return {
    counts: { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 },
    // biome-ignore lint/correctness/useYield: it ends before its first event
    events: (async function* () {
      throw failure
    })(),
  }
}
