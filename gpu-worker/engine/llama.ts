/**
 * The only file that uses node-llama-cpp to run a model.
 *
 * The library's evaluation loop costs several promises, locks and copies per token. We call its internal objects
 * (`_ctx`, samplers, grammar states) with one batch per step instead: 1.1 to 1.5 times its throughput on one core, and
 * our scheduler decides the content of the batch. These objects are not part of the public interface, so the dependency
 * is pinned to one version, and loading fails with a clear message if they are absent.
 */
import {
  getLlama,
  getModuleVersion,
  LlamaGrammar,
  LlamaGrammarEvaluationState,
  LlamaLogLevel,
  type LlamaModel,
} from 'node-llama-cpp'
import { preferCpuWithoutAmx } from './cpu.ts'
import type { Grammar, Job, LoadOptions } from './messages.ts'
import { readTokenizer } from './model-file.ts'
import type { BatchItem, Decoder, Sampler } from './scheduler.ts'
import { createTekken, tekkenFamily } from './tekken/encoder.ts'
import type { TokenSteps } from './tokenise.ts'

interface NativeContext {
  initBatch(size: number): void
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logits: Uint32Array): Uint32Array
  decodeBatch(): Promise<void>
  sampleToken(logits: number, sampler: NativeSampler): Promise<number>
  disposeSequence(sequence: number): void
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean
}

interface NativeSampler {
  applyConfig(config: Record<string, unknown>): void
}

interface NativeBindings {
  AddonSampler: {
    new (model: unknown): NativeSampler
    canBeNextTokenForGrammarEvaluationState(state: unknown, token: number): boolean
  }
}

export interface Llama extends Decoder {
  /** Versions of node-llama-cpp and of llama.cpp. */
  readonly version: string
  /** Names of control tokens in a text are tokenised as text. */
  tokenise: TokenSteps
}

const nothing = new Uint32Array(0)
/** The penalties consider this many of the last sampled tokens. */
const penaltyTokensMax = 4_096
/** Limits of the cache of parsed grammars. Agents send the same tools with each turn. */
const grammarsMax = 32
const grammarCharactersMax = 2 * 1024 * 1024

export async function loadLlama(options: LoadOptions): Promise<Llama> {
  const { modelPath, slotsMax, contextTokens, batchTokens, threads, gpu } = options
  preferCpuWithoutAmx(gpu)
  const logLevel = LlamaLogLevel.error
  const llama = await getLlama({ build: 'never', gpu, maxThreads: threads, logLevel, progressLogs: false })
  const model = await llama.loadModel({ modelPath })
  const context = await model.createContext({
    contextSize: contextTokens,
    sequences: slotsMax,
    batchSize: batchTokens,
    threads,
  })
  const native = context as unknown as { _ctx: NativeContext }
  const bindings = (llama as unknown as { _bindings: NativeBindings })._bindings
  if (typeof native._ctx?.sampleToken !== 'function' || typeof bindings?.AddonSampler !== 'function')
    throw new Error('node-llama-cpp has different internals than expected: install the version in package.json')

  const nativeModel = (model as unknown as { _model: unknown })._model
  // One sampler per sequence, reused: it holds a candidate per vocabulary entry (1.5 MB for a large vocabulary), which
  // the garbage collector does not count.
  const samplers: NativeSampler[] = []
  const grammars = new GrammarStates(model)

  return {
    version: `node-llama-cpp ${await getModuleVersion()} (llama.cpp ${llama.llamaCppRelease.release})`,
    tokenise: tokeniserOf(options.modelPath, model),
    build: ({ rules }) => grammars.build([rules.content, rules.call]),
    truncate(sequence, length) {
      const done = length > 0 && native._ctx.removeTokenCellsFromSequence(sequence, length, -1)
      if (length === 0) native._ctx.disposeSequence(sequence)
      else if (!done) throw new Error(`sequence ${sequence} cannot be truncated to ${length} tokens`)
    },
    decode: (items) => decode(native._ctx, items),
    sampler(sequence, job) {
      const reused = samplers[sequence] ?? new bindings.AddonSampler(nativeModel)
      samplers[sequence] = reused
      // A sampler continues its random sequence unless its seed changes.
      reused.applyConfig({ seed: (job.sampling.seed ^ 1) >>> 0 })
      return createSampler(native._ctx, bindings, grammars, reused, job)
    },
  }
}

/** The library's tokenizer is inexact for the tekken family; the library tokenises for other families only. */
function tokeniserOf(modelPath: string, model: LlamaModel): TokenSteps {
  const data = readTokenizer(modelPath)
  if (data.family === tekkenFamily) return createTekken(data)
  return (text, into) => {
    for (const token of model.tokenize(text, false)) into.push(token)
    return [].values()
  }
}

async function decode(context: NativeContext, items: readonly BatchItem[]): Promise<number[]> {
  context.initBatch(items.reduce((size, item) => size + item.tokens.length, 0))
  const logits = items.map((item) => {
    const wanted = item.wantsLogits ? Uint32Array.of(item.tokens.length - 1) : nothing
    return context.addToBatch(item.sequence, item.position, item.tokens, wanted)[0] ?? -1
  })
  await context.decodeBatch()
  return logits
}

function createSampler(
  context: NativeContext,
  bindings: NativeBindings,
  grammars: GrammarStates,
  native: NativeSampler,
  job: Job,
): Sampler {
  const endId = job.rules.endIds[0] ?? -1
  let active: { grammar: Grammar; state: unknown } | undefined
  return {
    set(bannedIds, grammar, output) {
      if (active?.grammar !== grammar) active = grammar ? { grammar, state: grammars.take(grammar) } : undefined
      native.applyConfig(samplerConfig(job, bannedIds, active?.state, output))
    },
    // The library rejects if no token matches the grammar; that ends one run, not the engine.
    sample: (logits) => context.sampleToken(logits, native).catch(() => -1),
    complete: () =>
      active !== undefined && bindings.AddonSampler.canBeNextTokenForGrammarEvaluationState(active.state, endId),
  }
}

/** Parsed grammars and their states. A state is built before it is needed, and one run uses it once. */
class GrammarStates {
  readonly #model: LlamaModel
  readonly #read = new Map<string, LlamaGrammar>()
  readonly #built = new WeakMap<Grammar, unknown>()
  #characters = 0

  constructor(model: LlamaModel) {
    this.#model = model
  }

  build(grammars: readonly (Grammar | null)[]): void {
    for (const grammar of grammars) if (grammar) this.#built.set(grammar, this.#state(grammar))
  }

  take(grammar: Grammar): unknown {
    const built = this.#built.get(grammar)
    this.#built.delete(grammar)
    return built ?? this.#state(grammar)
  }

  #state({ text }: Grammar): unknown {
    const state = new LlamaGrammarEvaluationState({ model: this.#model, grammar: this.#grammar(text) })
    return (state as unknown as { _state: unknown })._state
  }

  #grammar(text: string): LlamaGrammar {
    const known = this.#read.get(text)
    this.#read.delete(text)
    const grammar = known ?? new LlamaGrammar(this.#model.llama, { grammar: text })
    this.#read.set(text, grammar)
    if (!known) this.#characters += text.length
    for (const oldest of this.#read.keys()) {
      if (this.#read.size <= grammarsMax && this.#characters <= grammarCharactersMax) break
      this.#read.delete(oldest)
      this.#characters -= oldest.length
    }
    return grammar
  }
}

/**
 * An absent key turns a sampler off. `topK` is never set: it would truncate the distribution that the client requests.
 */
function samplerConfig(
  { sampling, outputTokensMax }: Job,
  bannedIds: readonly number[],
  grammarEvaluationState: unknown,
  output: readonly number[],
): Record<string, unknown> {
  const config: Record<string, unknown> = { temperature: sampling.temperature, seed: sampling.seed }
  if (sampling.topP < 1) config.topP = sampling.topP
  if (sampling.frequencyPenalty !== 0 || sampling.presencePenalty !== 0) {
    config.repeatPenalty = 1
    config.repeatPenaltyMaxTokens = Math.min(outputTokensMax, penaltyTokensMax)
    config.repeatPenaltyTokens = Uint32Array.from(output.slice(-penaltyTokensMax))
    config.repeatPenaltyFrequencyPenalty = sampling.frequencyPenalty
    config.repeatPenaltyPresencePenalty = sampling.presencePenalty
  }
  if (bannedIds.length > 0) {
    config.tokenBiasKeys = Uint32Array.from(bannedIds)
    config.tokenBiasValues = new Float32Array(bannedIds.length).fill(Number.NEGATIVE_INFINITY)
  }
  if (grammarEvaluationState !== undefined) config.grammarEvaluationState = grammarEvaluationState
  return config
}
