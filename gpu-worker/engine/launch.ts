/** Starts an engine's own program, under a guard, so that it ends with its worker; see guard.ts. */
import { fork } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Death } from './lifecycle.ts'

export interface Command {
  command: string
  args: readonly string[]
  /** Added to the worker's own environment, of which nothing named TRAMONTANE_ is passed on. */
  env: Readonly<Record<string, string>>
}

/** What a supervisor watches over: a process, or the fact that an engine elsewhere answers. */
export interface EngineProcess {
  /** Asks it to end. It does so within a bounded time. */
  end(): void
  readonly exited: Promise<Death>
  /** The engine's own process id, once it is known. */
  readonly pid: number | undefined
}

export interface LaunchOptions {
  /** How long it may take to end in order, in milliseconds. */
  graceMs: number
  /** Each line that it writes, on either stream. */
  line: (text: string) => void
}

export function launch({ command, args, env }: Command, { graceMs, line }: LaunchOptions): EngineProcess {
  const guard = fork(fileURLToPath(new URL('./guard.ts', import.meta.url)), [String(graceMs), command, ...args], {
    execArgv: [],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { ...withoutSecrets(process.env), ...env },
    // A Ctrl-C in the terminal is for the worker.
    detached: true,
  })
  for (const stream of [guard.stdout, guard.stderr]) if (stream) createInterface({ input: stream }).on('line', line)
  let pid: number | undefined
  let death: Death | undefined
  guard.on('message', (message: { pid: number | null } | Death) => {
    if ('pid' in message) pid = message.pid ?? undefined
    else death = message
  })
  const exited = new Promise<Death>((resolve) => {
    guard.on('exit', (code, signal) => {
      // A guard that was killed has left its engine behind.
      if (!death && pid !== undefined) killGroup(pid)
      resolve(death ?? { code, signal })
    })
    guard.on('error', (error) => {
      line(error.message)
      if (guard.pid === undefined) resolve({ code: 127, signal: null })
    })
  })
  return {
    exited,
    get pid() {
      return pid
    },
    end: () => {
      if (guard.connected) guard.send('end', () => {})
    },
  }
}

/** An engine that somebody else runs: there is nothing to start and nothing to end. */
export function attach(): EngineProcess {
  const { promise, resolve } = Promise.withResolvers<Death>()
  return { pid: undefined, exited: promise, end: () => resolve({ code: null, signal: null }) }
}

function withoutSecrets(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('TRAMONTANE_')))
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
}
