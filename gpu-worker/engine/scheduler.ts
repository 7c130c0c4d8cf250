/**
 * Continuous batching over sequences of one context.
 *
 * The loop repeats while there is work. Each step admits waiting runs to free sequences, plans one batch, decodes it,
 * samples, and reports once. A new run joins at the next step. A run that ends frees its sequence in the same step; the
 * cached tokens stay for the next request of the same owner with that prefix. Each step checks for aborts.
 *
 * The report of a step is sent while the library's thread decodes the next batch, so reporting costs no engine time.
 *
 * The runs of one step are sampled in parallel, and the next step waits for all samples: the library reads the logits
 * while it samples, and the next batch would overwrite them. So one slow grammar delays every run. A run is slow if its
 * grammar has many parse stacks, or if its measured samples took long (sample-cost.ts). A step has at most one slow
 * run. While other runs compute, all slow runs together get a quarter of the time and skip the steps in between.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { bannedIn, escapes, firstMode, grammarOf, type Mode, nextMode } from './constraint.ts'
import type { EndReason, Grammar, Job, StepReport } from './messages.ts'
import { inOrder, pickSequence, planPrefill } from './plan.ts'
import { isCostly, isSuspect, measured, noCost, type SampleCost, suspectsIn } from './sample-cost.ts'

/** The part of the library that the scheduler uses. Sequences are numbered from 0. */
export interface Decoder {
  /** Removes all tokens of the sequence after the first `length`. */
  truncate(sequence: number, length: number): void
  /** Decodes one batch. Returns the handle of each item's last logits, or -1 if the item wants none. */
  decode(items: readonly BatchItem[]): Promise<number[]>
  /** Creates the sampler of a new run on this sequence; the previous sampler of the sequence is invalid. */
  sampler(sequence: number, job: Job): Sampler
  /** Builds the job's grammars while the library's thread decodes. Throws if a grammar cannot be built. */
  build?(job: Job): void
}

export interface BatchItem {
  sequence: number
  /** Position of the first token. */
  position: number
  tokens: Uint32Array
  wantsLogits: boolean
}

export interface Sampler {
  /** Sets the constraints of the next `sample` calls. `output` has the tokens sampled so far, for the penalties. */
  set(bannedIds: readonly number[], grammar: Grammar | null, output: readonly number[]): void
  /** Samples from the logits of the last decoded batch; -1 if no token can follow. */
  sample(logits: number): Promise<number>
  /** Whether the grammar allows the text to end here. */
  complete(): boolean
}

interface Sequence {
  id: number
  /** The tokens in its part of the KV cache, and the tenant that sent them. */
  tokens: number[]
  owner: string
  usedAt: number
}

interface Active {
  id: number
  job: Job
  arrival: number
  priority: number
  sequence: Sequence | undefined
  /** Prompt tokens that are in the cache. */
  prefilled: number
  output: number[]
  mode: Mode
  thought: boolean
  sampler: Sampler | undefined
  aborted: boolean
  cost: SampleCost
}

interface TakenStep {
  run: Active
  item: BatchItem
  logits: number
}

export interface SchedulerOptions {
  slotsMax: number
  contextTokens: number
  batchTokens: number
  prefillChunkTokens: number
  /** A run is slow if its grammar has more parse stacks than this. */
  sharedStacksMax: number
}

export interface SchedulerParts {
  decoder: Decoder
  options: SchedulerOptions
  report: (report: StepReport) => void
  /** Called when the library fails. Its state is undefined afterwards, so the process must end. */
  fail: (error: unknown) => void
  clock: () => Times
}

/** In milliseconds. */
export interface Times {
  wall: number
  /** Processor time of the whole process, all threads together. */
  processor: number
}

export class Scheduler {
  readonly #decoder: Decoder
  readonly #options: SchedulerOptions
  readonly #report: (report: StepReport) => void
  readonly #fail: (error: unknown) => void
  readonly #clock: () => Times
  readonly #sequences: Sequence[]
  readonly #free: Set<Sequence>
  readonly #runs = new Map<number, Active>()
  #arrivals = 0
  #step = 0
  #looping = false
  /** The arrival number of the slow run sampled last, and how long the other runs compute before the next slow run. */
  #slowTurn = -1
  #slowRestMs = 0
  #next: StepReport = emptyReport()

  constructor({ decoder, options, report, fail, clock }: SchedulerParts) {
    this.#decoder = decoder
    this.#options = options
    this.#report = report
    this.#fail = fail
    this.#clock = clock
    this.#sequences = Array.from({ length: options.slotsMax }, (_, id) => ({ id, tokens: [], owner: '', usedAt: 0 }))
    this.#free = new Set(this.#sequences)
  }

  /** Batches begun since the start. */
  get steps(): number {
    return this.#step
  }

  run(id: number, job: Job): void {
    const arrival = this.#arrivals++
    const run: Active = {
      id,
      job,
      arrival,
      priority: job.priority,
      sequence: undefined,
      prefilled: 0,
      output: [],
      mode: firstMode(job.rules),
      thought: job.rules.inThinking,
      sampler: undefined,
      aborted: false,
      cost: noCost,
    }
    this.#runs.set(id, run)
    try {
      this.#decoder.build?.(job)
    } catch {
      this.#end(run, 'failed')
    }
    this.#wake()
  }

  abort(id: number): void {
    const run = this.#runs.get(id)
    if (!run) return
    run.aborted = true
    this.#wake()
  }

  #wake(): void {
    if (this.#looping) return
    this.#looping = true
    this.#loop().catch(this.#fail)
  }

  async #loop(): Promise<void> {
    for (;;) {
      this.#endAborted()
      this.#admit()
      const batch = this.#plan()
      if (batch.length === 0) break
      this.#step++
      const before = this.#clock().wall
      const decoded = this.#decoder.decode(batch.map(({ item }) => item))
      this.#flush()
      const logits = await decoded
      await this.#takeAll(batch.map((each, index) => ({ ...each, logits: logits[index] ?? -1 })))
      this.#slowRestMs = Math.max(0, this.#slowRestMs - (this.#clock().wall - before))
    }
    this.#looping = false
    this.#flush()
  }

  async #takeAll(all: readonly TakenStep[]): Promise<void> {
    // The first read of a batch's logits reorders them in place, without a lock. So one run samples alone before the
    // others sample in parallel. Otherwise runs sometimes get each other's tokens.
    const rank = ({ run, item }: TakenStep) => (item.wantsLogits ? (this.#isSlow(run) ? 0 : 1) : 2)
    const [first, ...together] = all.toSorted((a, b) => rank(a) - rank(b))
    if (first) await this.#takeAlone(first)
    const before = this.#clock()
    await Promise.all(together.map((each) => this.#take(each)))
    const workMs = this.#clock().processor - before.processor
    const bound = together.filter(({ run }) => grammarOf(run.mode, run.job.rules))
    for (const { run } of bound) run.cost = suspectsIn(run.cost, workMs, bound.length)
  }

  /** Samples one run's token while nothing else computes, so that its time can be measured. */
  async #takeAlone(taken: TakenStep): Promise<void> {
    const { run } = taken
    const slow = taken.item.wantsLogits && this.#isSlow(run)
    const wasBound = grammarOf(run.mode, run.job.rules) !== null
    const before = this.#clock()
    await this.#take(taken)
    const after = this.#clock()
    // A run that entered its grammar with this token was sampled with the grammar too.
    if (!taken.item.wantsLogits || !(wasBound || grammarOf(run.mode, run.job.rules))) return
    // Wall time includes other processes, and processor time includes the library's idle threads: use the smaller one.
    const spent = Math.min(after.wall - before.wall, after.processor - before.processor)
    run.cost = measured(run.cost, spent)
    // The current step counts as rest, although it began before this sample.
    if (slow) this.#slowRestMs = spent * (100 / budgets.grammarSharePercent.value)
    if (isCostly(run.cost) && this.#runs.has(run.id)) this.#end(run, 'costly')
  }

  #endAborted(): void {
    for (const run of this.#runs.values()) if (run.aborted) this.#end(run, 'abort')
  }

  #admit(): void {
    if (this.#free.size === 0) return
    const waiting = [...this.#runs.values()].filter((run) => !run.sequence).sort(inOrder)
    for (const run of waiting) {
      const picked = pickSequence([...this.#free], run.job.tokens, run.job.owner)
      const sequence = picked && this.#sequences[picked.id]
      if (!sequence) return
      this.#free.delete(sequence)
      if (picked.reuse < sequence.tokens.length) {
        this.#decoder.truncate(sequence.id, picked.reuse)
        sequence.tokens.length = picked.reuse
      }
      sequence.owner = run.job.owner
      run.sequence = sequence
      run.prefilled = picked.reuse
      run.sampler = this.#decoder.sampler(sequence.id, run.job)
      this.#next.cached.push(run.id, picked.reuse)
      this.#arm(run)
    }
  }

  #plan(): { run: Active; item: BatchItem }[] {
    const running = [...this.#runs.values()].filter((run) => run.sequence)
    const held = this.#heldBack(running)
    const decoding = running.filter((run) => run.output.length > 0 && !held.has(run))
    const prompts = running.filter((run) => run.output.length === 0).sort(inOrder)
    const counts = planPrefill(
      decoding.length,
      // A prompt without its last token is not sampled.
      prompts.map((run) => ({ left: leftOf(run) - (held.has(run) ? 1 : 0), priority: run.priority })),
      this.#options,
    )
    const batch = decoding.map((run) => ({ run, item: nextItem(run, run.output.slice(-1), true) }))
    prompts.forEach((run, index) => {
      const end = run.prefilled + (counts[index] ?? 0)
      if (end === run.prefilled) return
      const tokens = run.job.tokens.subarray(run.prefilled, end)
      batch.push({ run, item: nextItem(run, tokens, end === run.job.tokens.length) })
    })
    return batch
  }

  /** The slow runs that skip this step: all but one, or all of them until the other runs have had their share. */
  #heldBack(running: readonly Active[]): Set<Active> {
    const slow = running.filter((run) => this.#isSlow(run)).sort((a, b) => a.arrival - b.arrival)
    const held = new Set(slow)
    const othersWork = slow.length < running.length || slow.some((run) => run.output.length === 0 && leftOf(run) > 1)
    if (othersWork && this.#slowRestMs > 0) return held
    const ready = slow.filter((run) => run.output.length > 0 || leftOf(run) <= this.#options.prefillChunkTokens)
    const next = ready.find(({ arrival }) => arrival > this.#slowTurn) ?? ready[0]
    if (!next) return held
    this.#slowTurn = next.arrival
    held.delete(next)
    return held
  }

  /** Whether sampling this run's next token may take long. In mode `open` the grammar may apply to the same logits. */
  #isSlow({ mode, cost, job: { rules } }: Active): boolean {
    const grammar = mode === 'open' ? rules.content : grammarOf(mode, rules)
    return grammar !== null && (isSuspect(cost) || grammar.stacks > this.#options.sharedStacksMax)
  }

  /** Records the decoded tokens of one run, and samples its next token if the batch has its logits. */
  async #take({ run, item, logits }: TakenStep): Promise<void> {
    const { sequence, sampler } = run
    if (!sequence || !sampler) return
    for (const token of item.tokens) sequence.tokens.push(token)
    sequence.usedAt = this.#step
    if (run.output.length === 0) {
      run.prefilled += item.tokens.length
      this.#next.prefilled.push(run.id, item.tokens.length)
    }
    if (!item.wantsLogits) return
    const token = await this.#sample(run, sampler, logits)
    if (token < 0) {
      if (this.#runs.has(run.id)) this.#end(run, 'failed')
      return
    }
    run.output.push(token)
    this.#next.sampled.push(run.id, token)
    this.#advance(run, sampler, token)
  }

  async #sample(run: Active, sampler: Sampler, logits: number): Promise<number> {
    const token = await sampler.sample(logits)
    if (token < 0 || run.mode !== 'open' || escapes(run.job.rules, run.thought).includes(token)) return token
    return this.#enter(run, 'content') ? sampler.sample(logits) : -1
  }

  #advance(run: Active, sampler: Sampler, token: number): void {
    const { rules } = run.job
    const complete = grammarOf(run.mode, rules) !== null && sampler.complete()
    const mode = nextMode(run.mode, token, complete, rules)
    const reason = endReason(run, mode, token, this.#options.contextTokens)
    if (reason) this.#end(run, reason)
    else if (mode !== run.mode) this.#enter(run, mode)
  }

  #enter(run: Active, mode: Mode): boolean {
    if (mode === 'thinking') run.thought = true
    run.mode = mode
    return this.#arm(run)
  }

  /** Sets the constraints of the run's mode. If the library rejects them, only this run ends. */
  #arm(run: Active): boolean {
    try {
      run.sampler?.set(bannedIn(run.mode, run.job.rules), grammarOf(run.mode, run.job.rules), run.output)
      return true
    } catch {
      this.#end(run, 'failed')
      return false
    }
  }

  #end(run: Active, reason: EndReason): void {
    this.#runs.delete(run.id)
    if (run.sequence) this.#free.add(run.sequence)
    this.#next.ended.push({ id: run.id, reason })
  }

  #flush(): void {
    const report = this.#next
    if (report.cached.length + report.prefilled.length + report.sampled.length + report.ended.length === 0) return
    for (const run of this.#runs.values()) report.kvTokens += run.sequence?.tokens.length ?? 0
    this.#next = emptyReport()
    this.#report(report)
  }
}

function endReason(run: Active, mode: Mode, token: number, contextTokens: number): EndReason | undefined {
  const { rules, tokens, outputTokensMax } = run.job
  if (rules.endIds.includes(token)) return 'end'
  if (mode === 'closed') return 'closed'
  const full = tokens.length + run.output.length >= contextTokens
  return full || run.output.length >= outputTokensMax ? 'length' : undefined
}

function leftOf(run: Active): number {
  return run.job.tokens.length - run.prefilled
}

function nextItem(run: Active, tokens: ArrayLike<number>, wantsLogits: boolean): BatchItem {
  const sequence = run.sequence?.id ?? 0
  const position = run.sequence?.tokens.length ?? 0
  return { sequence, position, tokens: tokens instanceof Uint32Array ? tokens : Uint32Array.from(tokens), wantsLogits }
}

function emptyReport(): StepReport {
  return { cached: [], prefilled: [], sampled: [], ended: [], kvTokens: 0 }
}
