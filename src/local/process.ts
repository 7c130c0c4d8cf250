/**
 * One supervised child process: started, awaited until ready, restarted when it dies, stopped on request.
 *
 *   starting ── ready ──▶ running ── died ──▶ waiting ──▶ starting …      stops after too many early deaths
 */
import { type ChildProcess, fork } from 'node:child_process'
import { childEnvironment } from './child-environment.ts'

export interface ProcessOptions<Ready> {
  name: string
  module: string
  env: Record<string, string>
  /** Names of secrets in this process's environment that the child needs. It gets no other secret. */
  passed?: readonly string[]
  /** Parses the child's `ready` message; undefined for other messages. */
  ready: (message: unknown) => Ready | undefined
  /** Called at each start, including the first. */
  onReady: (ready: Ready) => void
  /** Called before a restart, to remove what the dead child left behind. */
  beforeRestart?: () => void
  /** Called when the child has died and will not be restarted. */
  onGaveUp: (reason: string) => void
  /** Asks the child to stop; SIGKILL follows after `stopMs`. */
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

  /** Resolves at the first `ready`. Rejects with the child's last output line when the child dies earlier. */
  start(): Promise<Ready> {
    return new Promise((resolve, reject) => this.#launch(resolve, reject))
  }

  async stop(): Promise<void> {
    this.#stopping = true
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = new Promise((resolve) => child.once('exit', resolve))
    this.#options.stop(child)
    const timer = setTimeout(() => child.kill('SIGKILL'), this.#options.stopMs)
    await exited
    clearTimeout(timer)
  }

  #launch(resolve?: (ready: Ready) => void, reject?: (error: Error) => void): void {
    const { module, env, passed = [], ready, onReady, log } = this.#options
    const startedAt = performance.now()
    // In a separate process group: Ctrl-C reaches only this launcher, which then stops its children in order.
    const child = fork(module, {
      env: childEnvironment(process.env, passed, env),
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    })
    this.#child = child
    let isReady = false
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#lastLine = text.trim().split('\n').at(-1) ?? this.#lastLine
        if (isReady || !reject) log(text)
      })
    }
    child.on('message', (message) => {
      const answer = ready(message)
      if (answer === undefined) return
      isReady = true
      onReady(answer)
      resolve?.(answer)
    })
    child.on('exit', (code, signal) => {
      if (this.#stopping) return
      if (!isReady && reject) {
        reject(new Error(this.#lastLine || `the process exited with ${signal ?? code}`))
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
    log(`${name} died (${reason}); restarting\n`)
    setTimeout(() => {
      if (this.#stopping) return
      this.#options.beforeRestart?.()
      this.#launch()
    }, delayMs)
  }
}
