/** Starts the engine child. The caller owns it: `kill` and the end of this process both end it. */
import { fork } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Death } from './lifecycle.ts'
import { LogLines } from './log-lines.ts'
import type { FromChild, ToChild } from './messages.ts'

export interface Child {
  /** Does nothing after the child has exited. */
  send(message: ToChild): void
  onMessage(listener: (message: FromChild) => void): void
  kill(): void
  readonly exited: Promise<Death>
  readonly pid: number | undefined
}

export function forkChild(log: (line: string) => void): Child {
  const child = fork(fileURLToPath(new URL('./child.ts', import.meta.url)), [], {
    serialization: 'advanced',
    // The child must not inherit a debugger port or a test runner's loader.
    execArgv: [],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: childEnvironment(process.env),
  })
  const lines = new LogLines((line) => log(`engine: ${line}`), performance.now.bind(performance))
  if (child.stderr) createInterface({ input: child.stderr }).on('line', (line) => passOn(line, lines))
  return {
    pid: child.pid,
    exited: new Promise((resolve) => {
      child.on('exit', (code, signal) => resolve({ code, signal }))
      child.on('error', (error) => {
        log(`engine: ${error.message}`)
        // A process that never started has no exit event.
        if (child.pid === undefined) resolve({ code: 1, signal: null })
      })
    }),
    send(message) {
      // Without a callback, sending to a child that has just died would be an unhandled error.
      if (child.connected) child.send(message, () => {})
    },
    onMessage: (listener) => child.on('message', listener),
    kill: () => child.kill('SIGKILL'),
  }
}

const neededVariables =
  /^(PATH|HOME|USERPROFILE|TMPDIR|TEMP|TMP|SYSTEMROOT|LANG|LC_.*|LD_LIBRARY_PATH|(CUDA|NVIDIA|VK|HIP|ROCR|GGML|OMP)_.*)$/i

/** Keeps the worker's secrets from native code. A native abort must not start a debugger. */
export function childEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const needed = Object.entries(environment).filter(([name]) => neededVariables.test(name))
  return { ...Object.fromEntries(needed), GGML_NO_BACKTRACE: '1' }
}

/** The library logs its backends to stderr at the start; log only the other lines. */
function passOn(line: string, lines: LogLines): void {
  if (!line.startsWith('load_backend: loaded')) lines.push(line)
}
