/**
 * Compiles the schemas of requests in a separate process (grammar-child.ts), one request at a time.
 *
 *   compile ──known──▶ answer                      at once, from the cache
 *      │
 *      ▼
 *   waiting ──smallest first──▶ compiling ──▶ answer
 *                                   │ too long, too large, or the process died
 *                                   ▼
 *                          the request is refused, and the process is replaced
 *
 * The process starts with the first request that has a schema. The owner closes the service, which ends the process.
 */
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { budgets } from '../../backends/model/budgets.ts'
import { watchChild } from './child-watch.ts'
import { clientLeft, EngineFailure, type EngineRefusal, preparationFailed } from './engine.ts'
import { childEnvironment } from './fork.ts'
import { anyArguments, type GrammarJob, type Grammars, looseContent } from './grammar.ts'
import type { FromGrammarChild, ToGrammarChild } from './grammar-child.ts'

type CompileAnswer = Grammars | EngineRefusal

interface WaitingCompile {
  job: GrammarJob
  key: string
  size: number
  signal: AbortSignal | undefined
  resolve(answer: CompileAnswer): void
  reject(error: Error): void
}

/** The compiling process, as far as this service uses it. */
export interface GrammarProcess {
  readonly pid: number | undefined
  send(message: ToGrammarChild): void
  onMessage(listener: (message: FromGrammarChild) => void): void
  kill(): void
  /** Resolves with the predicate of a sentence: how the process ended. */
  readonly exited: Promise<string>
}

/**
 * Limits of the cache. The key is a digest of all schemas, so a tenant only finds grammars of schemas that it sends.
 */
const knownMax = 256
const knownCharactersMax = 8 * 1024 * 1024
const startMs = 20_000
const startsMax = 3

export class GrammarService {
  readonly #start: () => GrammarProcess
  readonly #log: (line: string) => void
  readonly #deadlineMs: number
  readonly #known = new Map<string, Grammars>()
  readonly #waiting: WaitingCompile[] = []
  #characters = 0
  #process: GrammarProcess | undefined
  #ready = false
  #current: WaitingCompile | undefined
  #timer: NodeJS.Timeout | undefined
  #failedStarts = 0
  #ids = 0
  #closed = false

  constructor(log: (line: string) => void, start = forkGrammarChild, deadlineMs: number = budgets.grammarMs.value) {
    this.#log = log
    this.#start = start
    this.#deadlineMs = deadlineMs
  }

  /** Resolves with the grammars or a refusal. Rejects with EngineFailure if the service cannot compile. */
  compile(job: GrammarJob, signal?: AbortSignal): Promise<CompileAnswer> {
    const text = JSON.stringify(job)
    const key = createHash('sha256').update(text).digest('base64')
    const known = this.#known.get(key)
    if (known) {
      this.#known.delete(key)
      this.#known.set(key, known)
      return Promise.resolve(known)
    }
    if (this.#closed) return Promise.reject(new EngineFailure('the engine is closed'))
    if (signal?.aborted) return Promise.resolve(clientLeft)
    if (this.#waiting.length >= budgets.grammarQueue.value)
      return Promise.resolve(preparationFailed('too many schemas are waiting to be compiled'))
    return new Promise((resolve, reject) => {
      const waiting = { job, key, size: text.length, signal, resolve, reject }
      this.#waiting.push(waiting)
      signal?.addEventListener('abort', () => this.#left(waiting), { once: true })
      this.#next()
    })
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#process?.kill()
    const failure = new EngineFailure('the engine was closed')
    for (const waiting of [this.#current, ...this.#waiting.splice(0)]) waiting?.reject(failure)
    this.#current = undefined
  }

  /** A compilation in progress continues: it ends soon, and its result may be reused. */
  #left(waiting: WaitingCompile): void {
    const index = this.#waiting.indexOf(waiting)
    if (index >= 0) this.#waiting.splice(index, 1)
    waiting.resolve(clientLeft)
  }

  #next(): void {
    if (this.#closed || this.#current || this.#waiting.length === 0) return
    if (!this.#process) this.#spawn()
    if (!this.#ready) return
    // The smallest first: a short schema does not wait for long ones.
    const smallest = this.#waiting.reduce((min, each) => (each.size < min.size ? each : min))
    this.#waiting.splice(this.#waiting.indexOf(smallest), 1)
    this.#current = smallest
    this.#process?.send({ id: ++this.#ids, job: smallest.job })
    this.#within(this.#deadlineMs, () => this.#overrun())
  }

  #spawn(): void {
    const child = this.#start()
    this.#process = child
    this.#ready = false
    child.onMessage((message) => {
      if (this.#process !== child) return
      if (message.kind === 'ready') this.#started()
      else if (message.id === this.#ids) this.#done(message.answer)
    })
    void child.exited.then((why) => {
      if (this.#process === child) this.#lost(why)
    })
    this.#within(startMs, () => {
      child.kill()
      this.#lost('did not start in time')
    })
  }

  #started(): void {
    clearTimeout(this.#timer)
    this.#ready = true
    this.#failedStarts = 0
    this.#next()
  }

  #done(answer: CompileAnswer): void {
    clearTimeout(this.#timer)
    const current = this.#current
    this.#current = undefined
    if (current && answer.ok) this.#keep(current.key, answer)
    current?.resolve(answer)
    this.#next()
  }

  #overrun(): void {
    this.#process?.kill()
    this.#lost(`took longer than ${this.#deadlineMs / 1_000} s`)
  }

  /**
   * The process has ended or is about to. The request being compiled is at fault; waiting requests get a new process.
   */
  #lost(why: string): void {
    clearTimeout(this.#timer)
    const wasReady = this.#ready
    this.#process = undefined
    this.#ready = false
    const current = this.#current
    this.#current = undefined
    if (this.#closed) return
    this.#log(`engine: the process that compiles schemas ${why} and was replaced`)
    if (current) current.resolve(withoutSchemas(current.job))
    if (!wasReady && ++this.#failedStarts >= startsMax) this.#giveUp(why)
    this.#next()
  }

  #giveUp(why: string): void {
    this.#failedStarts = 0
    const failure = new EngineFailure(`the process that compiles schemas ${why}`)
    for (const waiting of this.#waiting.splice(0)) waiting.reject(failure)
  }

  #keep(key: string, answer: Grammars): void {
    this.#known.set(key, answer)
    this.#characters += sizeOf(answer)
    for (const [oldest, grammars] of this.#known) {
      if (this.#known.size <= knownMax && this.#characters <= knownCharactersMax) return
      this.#known.delete(oldest)
      this.#characters -= sizeOf(grammars)
    }
  }

  #within(ms: number, otherwise: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(otherwise, ms)
  }
}

/** A strict response format or tool is refused; others get looser rules. */
function withoutSchemas({ content, call }: GrammarJob): CompileAnswer {
  const reason = 'it takes too long to compile. Use fewer properties, branches and references'
  const none: Grammars = { ok: true, content: null, call: null, warnings: [] }
  const format = content?.kind === 'schema' ? looseContent(content, reason) : none
  if (!format.ok) return format
  const calling = call && anyArguments(call, reason)
  if (calling && 'ok' in calling) return calling
  const warnings = call ? [`tools: any JSON object is accepted as arguments, because ${reason}`] : []
  return { ...format, call: calling, warnings: [...format.warnings, ...warnings] }
}

function sizeOf({ content, call, warnings }: Grammars): number {
  return (content?.text.length ?? 0) + (call?.text.length ?? 0) + warnings.join('').length
}

export function forkGrammarChild(): GrammarProcess {
  const child = fork(fileURLToPath(new URL('./grammar-child.ts', import.meta.url)), [], {
    serialization: 'advanced',
    execArgv: ['--max-old-space-size=256'],
    // The library prints a grammar that it refuses, including text from the client.
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    env: childEnvironment(process.env),
  })
  const memoryBytesMax = budgets.grammarMemoryMegabytes.value * 1024 * 1024
  const watch = watchChild(child.pid, { memoryBytesMax })
  return {
    pid: child.pid,
    send: (message) => {
      if (child.connected) child.send(message, () => {})
    },
    onMessage: (listener) => child.on('message', listener),
    kill: () => child.kill('SIGKILL'),
    exited: new Promise((resolve) => {
      const ended = (how: string) => resolve(watch.end() ?? `ended (${how})`)
      child.on('exit', (code, signal) => ended(signal ?? `exit code ${code}`))
      child.on('error', (error) => {
        if (child.pid === undefined) ended(error.message)
      })
    }),
  }
}
