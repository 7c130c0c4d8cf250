/** Starts an engine's program under a guard process, so that it ends with its worker; see guard.ts. */
import { fork } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Death } from './lifecycle.ts'

export interface Command {
  command: string
  args: readonly string[]
  /** Added to the worker's environment. Variables that begin with TRAMONTANE_ are not passed on. */
  env: Readonly<Record<string, string>>
}

/** The supervised process. For an attached engine it stands for the endpoint. */
export interface EngineProcess {
  /** Begins the shutdown; the process exits within a bounded time. */
  end(): void
  readonly exited: Promise<Death>
  /** The engine's process id, once known. */
  readonly pid: number | undefined
}

export interface LaunchOptions {
  /** Time to exit after SIGTERM, in milliseconds. */
  graceMs: number
  /** Called for each line of stdout and stderr. */
  line: (text: string) => void
}

export function launch({ command, args, env }: Command, { graceMs, line }: LaunchOptions): EngineProcess {
  const guard = fork(
    fileURLToPath(new URL('./process-guard.ts', import.meta.url)),
    [String(graceMs), command, ...args],
    {
      execArgv: [],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...withoutSecrets(process.env), ...env },
      // Ctrl-C in the terminal must only reach the worker.
      detached: true,
    },
  )
  for (const stream of [guard.stdout, guard.stderr]) if (stream) createInterface({ input: stream }).on('line', line)
  let pid: number | undefined
  let death: Death | undefined
  guard.on('message', (message: { pid: number | null } | Death) => {
    if ('pid' in message) pid = message.pid ?? undefined
    else death = message
  })
  const exited = new Promise<Death>((resolve) => {
    guard.on('exit', (code, signal) => {
      // A killed guard cannot have ended its engine.
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

/** An attached engine: there is no process to start or end. */
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
    // The group has already ended.
  }
}
