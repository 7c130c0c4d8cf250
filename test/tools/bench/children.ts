/**
 * The processes of one bench. When this process ends, in any way, all of them end and their state folder is removed;
 * a child that loses its parent to SIGKILL ends by itself.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const pids = new Set<number>()

/** The bench's folder. */
export const home = mkdtempSync(join(tmpdir(), 'tramontane-bench-'))

process.on('exit', () => {
  for (const pid of pids) kill(pid)
  // A process that was just killed may still be closing its files.
  rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130))

export interface Child<Ready> {
  process: ChildProcess
  pid: number
  ready: Ready
  stop: () => void
}

/** Starts a module of this repository, optionally pinned to one core, and waits until it reports `ready`. */
export async function startChild<Ready>(
  module: string,
  options: { args?: readonly (string | number)[]; env?: Record<string, string>; core?: number | undefined },
): Promise<Child<Ready>> {
  const path = fileURLToPath(new URL(module, import.meta.url))
  const pinned =
    options.core === undefined ? {} : { execPath: 'taskset', execArgv: ['-c', `${options.core}`, process.execPath] }
  const child = fork(path, (options.args ?? []).map(String), {
    ...pinned,
    // Temporary files of the child are removed with ours.
    env: { ...process.env, TMPDIR: home, ...options.env },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    detached: true,
  })
  const { pid } = child
  if (pid === undefined) throw new Error(`${module} cannot be started`)
  pids.add(pid)
  child.once('exit', () => pids.delete(pid))
  let lastWords = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    lastWords = (lastWords + text).slice(-1_000)
  })
  const ready = await Promise.race([
    once(child, 'message').then(([message]) => message as Ready),
    once(child, 'exit').then(() => Promise.reject(new Error(`${module} did not start:\n${lastWords}`))),
  ])
  return { process: child, pid, ready, stop: () => kill(pid) }
}

/** Registers a process that a child started and that must end with the bench. */
export function alsoEnds(pid: number | null): void {
  if (pid !== null) pids.add(pid)
}

function kill(pid: number): void {
  pids.delete(pid)
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has already ended.
  }
}
