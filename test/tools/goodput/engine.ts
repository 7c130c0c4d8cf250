/**
 * A model of an engine that serves Small 4: time and KV cache of one replica on two H200, weights in FP8, step by step.
 * Sources of the numbers:
 *
 * - A step reads the weights that its tokens activate. Each token uses 4 of 128 experts, so b tokens touch a share of
 *   1 − (1 − 4/128)^b. Routed experts are 116 of 119 GB (MODEL.md §1, computed from the layer sizes), halved by two
 *   GPUs of 4.8 TB/s, of which 70 % are reached.
 * - A step also reads each token's cache: 22.5 KiB per token, in full on each GPU, since MLA latents are not split
 *   (§1).
 * - A fixed part, so that a single request gets 159 tokens/s: the hosted model's published speed at `none` (§6).
 * - Prompts are read at 35,000 tokens/s at most, the published rate of a mixture of the same size (gpt-oss-120B: 117 B,
 *   5.1 B active) on two H100, "long prompt", in the GPUStack performance lab. Attention adds to it with the position,
 *   as much again at 20,000 tokens (computed from the head sizes).
 * - The cache holds 2.7 million tokens: 141 GB × 0.9 minus 60 GB of weights and 5 GB for the rest (§1).
 *
 * A step takes one token of each running answer, and prompts in order up to its budget (chunked prefill). A request is
 * admitted while its prompt fits. When the cache is full, the latest request is preempted and later read again with its
 * output so far (vLLM's recomputation). Cached prefixes are not read again and are evicted least recently used first.
 * No speculative decoding.
 */
import type { PrefixHash } from '../../../src/fleet/placement/prefix-holders.ts'
import type { Profile, Replica, Work } from './replica.ts'

export const kvTokensMax = 2_700_000

const routedBytes = 116e9
const otherBytes = 3e9
const gpus = 2
const bytesPerMs = (4.8e12 * 0.7) / 1_000
const kvBytes = 22.5 * 1_024
export const loneMs = 1_000 / 159
const promptMs = 1_000 / 35_000
const attentionDoublesAt = 20_000

const weightsMs = (tokens: number): number =>
  (otherBytes + routedBytes * (1 - (1 - 4 / 128) ** tokens)) / gpus / bytesPerMs
const fixedMs = loneMs - weightsMs(1)

/** @param promptWork prompt tokens of the step, each weighted by the attention at its position */
export function stepMs(writing: number, promptTokens: number, promptWork: number, cacheTokens: number): number {
  const read = weightsMs(writing + promptTokens) + (cacheTokens * kvBytes) / bytesPerMs
  return fixedMs + Math.max(read, (writing + promptWork) * promptMs)
}

interface Running {
  work: Work
  /** Tokens to read before it generates, and how many of them have been read. */
  readTokens: number
  done: number
  /** Tokens generated before it was preempted. */
  written: number
  /** The step that produced the first token since its admission; undefined while the prompt is read. */
  since: number | undefined
}

/** The share of the cache that new prompts leave to running answers. */
const spareShare = 0.02

export class EngineModel implements Replica {
  readonly profile: Profile
  readonly cacheTokensMax = kvTokensMax
  readonly #schedule: (afterMs: number, then: (now: number) => void) => void
  readonly #waiting: { work: Work; written: number }[] = []
  readonly #reading: Running[] = []
  /** Answers by the step at whose end they are complete. */
  readonly #ends = new Map<number, Set<Running>>()
  readonly #held = new Map<number, number>()
  #heldTokens = 0
  #step = 0
  #stepping = false
  #dead = false
  #writing = 0
  /** Tokens in the caches of running requests. */
  cacheTokens = 0
  readonly running = new Map<string, Running>()
  promptTokensTotal = 0
  cachedTokensTotal = 0
  outputTokensTotal = 0
  sentBack = 0
  readonly #cachedOf = new Map<string, number>()

  constructor(profile: Profile, schedule: (afterMs: number, then: (now: number) => void) => void) {
    this.profile = profile
    this.#schedule = schedule
  }

  get load(): number {
    return this.running.size + this.#waiting.length
  }

  get dead(): boolean {
    return this.#dead
  }

  submit(work: Work): void {
    this.#waiting.push({ work, written: 0 })
    this.#admit()
    this.#go()
  }

  cachedOf(id: string): number {
    return this.#cachedOf.get(id) ?? 0
  }

  kill(): Work[] {
    this.#dead = true
    return [...[...this.running.values()].map(({ work }) => work), ...this.#waiting.map(({ work }) => work)]
  }

  holds(prefix: PrefixHash[]): number {
    for (let index = prefix.length - 1; index >= 0; index--) {
      const beginning = prefix[index]
      if (beginning && this.#held.has(beginning.hash)) return beginning.tokens
    }
    return 0
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
      const { work, written } = next
      const readTokens = work.promptTokens + written
      const fits = this.running.size === 0 || this.cacheTokens + readTokens <= kvTokensMax * (1 - spareShare)
      if (this.running.size >= this.profile.slots || !fits) return
      this.#waiting.shift()
      const cached = Math.min(this.holds(work.prefix), work.promptTokens - 1)
      for (const beginning of work.prefix) this.#touch(beginning)
      const running = { work, readTokens, done: cached, written, since: undefined }
      this.running.set(work.id, running)
      if (written === 0) this.#cachedOf.set(work.id, cached)
      this.promptTokensTotal += work.promptTokens
      this.cachedTokensTotal += cached
      // The cache for the whole prompt is reserved at once.
      this.cacheTokens += readTokens
      this.#reading.push(running)
    }
  }

  #go(): void {
    if (this.#stepping || this.#dead || this.running.size === 0) return
    this.#stepping = true
    let budget = Math.max(0, this.profile.stepTokens - this.#writing)
    let promptTokens = 0
    let promptWork = 0
    const read: Running[] = []
    for (const reading of this.#reading) {
      if (budget <= 0) break
      const part = Math.min(budget, reading.readTokens - reading.done)
      budget -= part
      promptTokens += part
      promptWork += part * (1 + (reading.done + part / 2) / attentionDoublesAt)
      reading.done += part
      if (reading.done >= reading.readTokens) read.push(reading)
    }
    const wrote = this.#writing
    this.#schedule(stepMs(wrote, promptTokens, promptWork, this.cacheTokens), (now) => {
      if (!this.#dead) this.#ended(now, wrote, read)
    })
  }

  #ended(now: number, wrote: number, read: Running[]): void {
    this.#stepping = false
    this.outputTokensTotal += wrote + read.length
    this.cacheTokens += wrote + read.length
    const ended = [...(this.#ends.get(this.#step) ?? [])]
    this.#ends.delete(this.#step)
    this.#writing -= ended.length
    for (const running of read) {
      const { work, written } = running
      this.#reading.splice(this.#reading.indexOf(running), 1)
      for (const beginning of work.prefix) this.#keep(beginning)
      if (written === 0) work.onFirst(now)
      running.since = this.#step
      const left = work.outputTokens - written - 1
      if (left <= 0) ended.push(running)
      else {
        this.#writing += 1
        this.#endAt(this.#step + left).add(running)
      }
    }
    for (const { work } of ended) {
      this.running.delete(work.id)
      this.cacheTokens -= work.promptTokens + work.outputTokens
      this.#keep(work.whole)
    }
    while (this.cacheTokens + this.#writing > kvTokensMax && this.running.size > 1) this.#sendBack()
    this.#step += 1
    this.#forget()
    this.#admit()
    this.#go()
    for (const { work } of ended) work.onEnd(now)
  }

  /** Preempts the latest request. Called at the end of a step, before the step number increases. */
  #sendBack(): void {
    const last = [...this.running.values()].at(-1)
    if (!last) return
    const { work, written, since } = last
    const wrote = since === undefined ? 0 : this.#step - since + 1
    this.running.delete(work.id)
    this.cacheTokens -= last.readTokens + wrote
    if (since === undefined) this.#reading.splice(this.#reading.indexOf(last), 1)
    else {
      this.#endAt(since + work.outputTokens - written - 1).delete(last)
      this.#writing -= 1
    }
    this.sentBack += 1
    this.#waiting.unshift({ work, written: written + wrote })
  }

  #endAt(step: number): Set<Running> {
    const known = this.#ends.get(step)
    if (known) return known
    const ends = new Set<Running>()
    this.#ends.set(step, ends)
    return ends
  }

  #touch({ hash }: PrefixHash): void {
    const tokens = this.#held.get(hash)
    if (tokens === undefined) return
    this.#held.delete(hash)
    this.#held.set(hash, tokens)
  }

  /** Counts the tokens that each prefix adds; slightly too many where prefixes share a beginning. */
  #keep({ hash, tokens }: PrefixHash): void {
    this.#heldTokens += tokens - (this.#held.get(hash) ?? 0)
    this.#held.delete(hash)
    this.#held.set(hash, tokens)
  }

  #forget(): void {
    for (const [hash, tokens] of this.#held) {
      if (this.#heldTokens + this.cacheTokens <= kvTokensMax) return
      this.#held.delete(hash)
      this.#heldTokens -= tokens
    }
  }
}
