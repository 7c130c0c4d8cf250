/** Starts a scripted engine process (engine-process.ts) for a test, and reads what it recorded. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type EngineProcess, launch } from '../../gpu-worker/engine/launch.ts'
import type { Script, Seen } from './engine-process.ts'
import { eventually, freePort } from './product.ts'

export const engineProgram = fileURLToPath(new URL('./engine-process.ts', import.meta.url))

export interface EngineAt {
  url: string
  port: number
  process: EngineProcess
  /** Changes the script while it runs. */
  say(changes: Partial<Script>): Promise<void>
  seen(): Promise<Seen>
  stop(): Promise<void>
}

export async function startEngineProcess(script: Partial<Script> = {}): Promise<EngineAt> {
  const port = await freePort()
  const args = [engineProgram, String(port), JSON.stringify(script)]
  const process = launch(
    { command: globalThis.process.execPath, args, env: {} },
    { graceMs: 200, line: () => undefined },
  )
  const at = engineAt(port)
  const up = () =>
    at.seen().then(
      () => true,
      () => false,
    )
  if (!(await eventually(up, Boolean))) throw new Error('the engine process does not answer')
  return {
    ...at,
    process,
    async stop() {
      process.end()
      await process.exited
    },
  }
}

/** A scripted engine on this port that another process starts. */
export function engineAt(port: number): Pick<EngineAt, 'url' | 'port' | 'say' | 'seen'> {
  const url = `http://127.0.0.1:${port}`
  return {
    ...{ url, port },
    async say(changes) {
      await fetch(`${url}/script`, { method: 'POST', body: JSON.stringify(changes) })
    },
    seen: async () => (await fetch(`${url}/seen`)).json() as Promise<Seen>,
  }
}

export interface EngineProgram {
  /** Environment variables for a worker that launches it as its llama-server. */
  env: Record<string, string>
  /** The engine that this worker runs now; undefined during a restart. */
  of(workerPid: number): (Pick<EngineAt, 'url' | 'port' | 'say' | 'seen'> & { pid: number }) | undefined
}

/** Writes the scripted engine as a program that workers launch. */
export function engineProgramFor(script: Partial<Script>): EngineProgram {
  const folder = mkdtempSync(join(tmpdir(), 'tramontane-engine-'))
  const program = join(folder, 'llama-server')
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${engineProgram}' "$@"\n`, { mode: 0o755 })
  return {
    env: {
      TRAMONTANE_BACKEND: 'llama-cpp',
      TRAMONTANE_MODEL_ID: 'tramontane-tiny',
      TRAMONTANE_ENGINE_PROGRAM: program,
      // The names do not begin with TRAMONTANE_: the worker passes no such variable to an engine.
      LLAMA_TEST_SCRIPT: JSON.stringify(script),
      LLAMA_TEST_FOLDER: folder,
    },
    of(workerPid) {
      for (const pid of childrenOf(workerPid).flatMap(childrenOf)) {
        const port = readIfThere(join(folder, String(pid)))
        if (port !== undefined) return { ...engineAt(Number(port)), pid }
      }
      return undefined
    },
  }
}

export function childrenOf(pid: number): number[] {
  const text = readIfThere(`/proc/${pid}/task/${pid}/children`) ?? ''
  return text.trim().split(' ').filter(Boolean).map(Number)
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
