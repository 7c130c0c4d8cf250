/**
 * Asks the cases that the journal does not have, with bounded concurrency. A finished case is written to the journal
 * first, so that an interrupted run loses only the requests in flight.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { type Asking, ask, Hopeless } from './ask.ts'
import type { Case, Judgement, Verdict } from './case.ts'
import { type Entry, keyOf, readJournal } from './journal.ts'
import type { EvalOptions } from './options.ts'
import type { Place } from './place.ts'
import { passesAll } from './sandbox.ts'
import { type Progress, progress } from './terminal.ts'

const saidMax = 2_000
/** After this many consecutive failed cases, each with all its retries, the server counts as unavailable. */
const failuresMax = 4

export interface Job {
  one: Case
  effort: string
}

export interface Outcome {
  entries: Entry[]
  failed: number
  stopped: 'done' | 'interrupted' | 'hopeless'
}

type Keyed = Job & { key: string }

/** An abort of `interrupted` ends the requests in flight; the outcome contains the finished cases. */
export async function perform(
  jobs: readonly Job[],
  options: EvalOptions,
  place: Place,
  out: string,
  interrupted: AbortSignal,
): Promise<Outcome> {
  mkdirSync(out, { recursive: true })
  const path = join(out, 'journal.jsonl')
  if (options.fresh) rmSync(path, { force: true })
  const known = openJournal(path)
  const settings = { temperature: options.temperature, tokensMax: options.tokensMax }
  const keyed = keyedBy(jobs, (job) =>
    keyOf({ task: job.one.task, effort: job.effort, id: job.one.id, model: place.model, settings }),
  )
  const entries = new Map(keyed.flatMap(({ key }) => pair(key, known.get(key))))
  const waiting = keyed.filter(({ key }) => !entries.has(key))
  const bar = progress(keyed.length, process.stderr, () => performance.now())
  if (entries.size > 0) bar.say(`${entries.size} of ${keyed.length} cases are already in ${path}`)
  const run = new Run({ place, settings, path, entries, bar, interrupted })
  run.show()
  await inTurn(waiting, options.concurrency, run.signal, (job) => run.perform(job))
  bar.end()
  // In the order of the jobs, not of completion.
  return { entries: keyed.flatMap(({ key }) => entries.get(key) ?? []), failed: run.failed, stopped: run.stopped }
}

interface World {
  place: Place
  settings: Entry['settings']
  path: string
  entries: Map<string, Entry>
  bar: Progress
  interrupted: AbortSignal
}

class Run {
  failed = 0
  /** Aborted by an interrupt or by a hopeless server. */
  readonly signal: AbortSignal
  private failedInARow = 0
  private readonly hopeless = new AbortController()
  private readonly reportedEfforts = new Set<string>()
  private readonly world: World

  constructor(world: World) {
    this.world = world
    this.signal = AbortSignal.any([world.interrupted, this.hopeless.signal])
  }

  get stopped(): Outcome['stopped'] {
    if (this.world.interrupted.aborted) return 'interrupted'
    return this.hopeless.signal.aborted ? 'hopeless' : 'done'
  }

  async perform({ one, effort, key }: Keyed): Promise<void> {
    try {
      const asking = { effort, ...this.world.settings }
      const entry = await entryOf(this.world.place, one, asking, this.signal)
      appendFileSync(this.world.path, `${JSON.stringify(entry)}\n`)
      this.world.entries.set(key, entry)
      this.failedInARow = 0
      this.reportEffort(effort, entry.effortServed)
    } catch (error) {
      if (this.signal.aborted) return
      this.fail(`${one.task} ${one.id} at ${effort}`, error)
    }
    this.show()
  }

  show(): void {
    this.world.bar.step(this.world.entries.size + this.failed, right(this.world.entries), this.failed)
  }

  private fail(what: string, error: unknown): void {
    const why = error instanceof Error ? error.message : String(error)
    if (error instanceof Hopeless) {
      this.giveUp(`the server cannot serve this evaluation: ${why}`)
      return
    }
    this.failed++
    this.world.bar.say(`failed: ${what}: ${why}`)
    if (++this.failedInARow >= failuresMax)
      this.giveUp('too many consecutive failures. Run the same command again to continue.')
  }

  private giveUp(why: string): void {
    this.world.bar.say(why)
    this.hopeless.abort()
  }

  private reportEffort(asked: string, served: string | null): void {
    if (served === null || asked === 'default' || served === asked || this.reportedEfforts.has(asked)) return
    this.reportedEfforts.add(asked)
    this.world.bar.say(`effort ${asked} is served as ${served}`)
  }
}

/** A question that occurs twice in a file is one case. */
function keyedBy(jobs: readonly Job[], key: (job: Job) => string): Keyed[] {
  return [...new Map(jobs.map((job) => [key(job), { ...job, key: key(job) }])).values()]
}

function pair(key: string, entry: Entry | undefined): [string, Entry][] {
  return entry ? [[key, entry]] : []
}

/** Removes an incomplete last line, so that the next entry starts a new line. */
function openJournal(path: string): Map<string, Entry> {
  if (!existsSync(path)) return new Map()
  const text = readFileSync(path, 'utf8')
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole))
  const { entries, torn } = readJournal(whole)
  if (torn > 0) console.error(`${path}: skipped ${torn} lines that are not journal entries`)
  return entries
}

function right(entries: ReadonlyMap<string, Entry>): number {
  return [...entries.values()].filter((entry) => entry.right).length
}

async function inTurn<Item>(
  items: readonly Item[],
  concurrency: number,
  signal: AbortSignal,
  perform: (item: Item) => Promise<void>,
): Promise<void> {
  let next = 0
  async function lane(): Promise<void> {
    for (let item = items[next++]; item !== undefined && !signal.aborted; item = items[next++]) await perform(item)
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, lane))
}

async function entryOf(place: Place, one: Case, asking: Asking, signal: AbortSignal): Promise<Entry> {
  const { effort, ...settings } = asking
  const result = await ask(place, one, asking, signal)
  const common = { task: one.task, effort, id: one.id, model: place.model, settings }
  if (result.kind === 'refused') {
    const nothing = { said: '', finish: null, effortServed: null, tokens: null, firstTokenMs: null, tokenMs: null }
    return { ...common, right: false, score: 0, refused: result.code, ...nothing }
  }
  const { answer, firstTokenMs, tokenMs } = result
  const { right, score } = await judged(one.judge(answer), signal)
  const calls = answer.calls.map((call) => `${call.name}(${call.arguments})`).join('\n')
  const { finish, effortServed, tokens } = answer
  const said = `${answer.content}${calls}`.slice(0, saidMax)
  return { ...common, right, score, said, finish, refused: null, effortServed, tokens, firstTokenMs, tokenMs }
}

/** Programs run one after another, so that they do not take CPU time from each other's tests. */
let sandboxFree: Promise<unknown> = Promise.resolve()

async function judged(judgement: Judgement, signal: AbortSignal): Promise<Verdict> {
  if (!('program' in judgement)) return judgement
  const { program } = judgement
  const turn = sandboxFree.then(() => passesAll(program, signal))
  sandboxFree = turn.catch(() => undefined)
  const right = await turn
  if (signal.aborted) throw new Error('interrupted')
  return { right, score: right ? 1 : 0 }
}
