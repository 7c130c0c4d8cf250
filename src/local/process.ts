/**
 * One supervised child process: started, heard from, restarted when it dies, stopped when asked.
 *
 *   starting ── ready ──▶ running ── died ──▶ waiting ──▶ starting …      gives up when it dies young too often
 */
import { type ChildProcess, fork } from 'node:child_process'
import { childEnvironment } from './child-environment.ts'

export interface ProcessOptions<Ready> {
  name: string
  module: string
  env: Record<string, string>
  /** Names of secrets in this process's environment that the child needs. No other secret is given to it. */
  passed?: readonly string[]
  /** What the child's `ready` message carries. */
  ready: (message: unknown) => Ready | undefined
  /** Called at each start, the first one included. */
  onReady: (ready: Ready) => void
  /** Called before the child is started again: what it left behind goes now. */
  beforeRestart?: () => void
  /** Called when the child died and will not be started again. */
  onGaveUp: (reason: string) => void
  /** How the child is asked to stop; SIGKILL follows after `stopMs`. */
  stop: (child: ChildProcess) => void
  stopMs: number
  log: (line: string) => void
}

const backoffMs = [100, 500, 2_000, 5_000]
const youngMs = 10_000

export class SupervisedProcess<Ready> {
  readonly #options: ProcessOptions<Ready>
  #child: ChildProcess | undefined
  #stopping = false
  #youngDeaths = 0
  #lastLine = ''

  constructor(options: ProcessOptions<Ready>) {
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** Resolves at the first `ready`; rejects with the child's last line when it dies before. */
  start(): Promise<Ready> {
    return new Promise((resolve, reject) => this.#launch(resolve, reject))
  }

  async stop(): Promise<void> {
    this.#stopping = true
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    this.#options.stop(child)
    const timer = setTimeout(() => child.kill('SIGKILL'), this.#options.stopMs)
    await gone
    clearTimeout(timer)
  }

  #launch(resolve?: (ready: Ready) => void, reject?: (error: Error) => void): void {
    const { module, env, passed = [], ready, onReady, log } = this.#options
    const startedAt = performance.now()
    // A group of its own: a Ctrl-C in the terminal reaches this launcher only, which then stops its children in order.
    const child = fork(module, {
      env: childEnvironment(process.env, passed, env),
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    })
    this.#child = child
    let heard = false
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#lastLine = text.trim().split('\n').at(-1) ?? this.#lastLine
        if (heard || !reject) log(text)
      })
    }
    child.on('message', (message) => {
      const answer = ready(message)
      if (answer === undefined) return
      heard = true
      onReady(answer)
      resolve?.(answer)
    })
    child.on('exit', (code, signal) => {
      if (this.#stopping) return
      if (!heard && reject) {
        reject(new Error(this.#lastLine || `it exited with ${signal ?? code}`))
        return
      }
      this.#restart(signal ?? String(code), performance.now() - startedAt)
    })
  }

  #restart(reason: string, livedMs: number): void {
    const { name, log, onGaveUp } = this.#options
    this.#youngDeaths = livedMs < youngMs ? this.#youngDeaths + 1 : 1
    const delayMs = backoffMs[this.#youngDeaths - 1]
    if (delayMs === undefined) {
      onGaveUp(`${name} died ${this.#youngDeaths} times in a row: ${this.#lastLine}`)
      return
    }
    log(`${name} died (${reason}); starting it again\n`)
    setTimeout(() => {
      if (this.#stopping) return
      this.#options.beforeRestart?.()
      this.#launch()
    }, delayMs)
  }
}
