/**
 * The state folder of a local installation (TRAMONTANE_HOME, by default `.tramontane`): secrets and the demo tenant in
 * `state.json`, workerd's databases in `edge/`, each worker's outbox in `workers/`, and what runs now in `demo.json`.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { poolNames } from '../../backends/wire/dispatch.ts'

const State = z.object({
  version: z.literal(1),
  keySecret: z.string().min(32),
  fleetSecret: z.string().min(32),
  operatorKey: z.string().min(32),
  tenantId: z.string(),
  apiKey: z.string().nullable(),
  /** Of the keys that the local workers were enrolled with last. */
  workerEpochs: z.record(z.enum(poolNames), z.int().min(1)).default({ latency: 1, throughput: 1 }),
})
export type State = z.infer<typeof State>

/** Reads the state, or makes a new one. Throws one sentence when the file is there but cannot be used. */
export function openState(home: string): State {
  mkdirSync(home, { recursive: true, mode: 0o700 })
  const path = join(home, 'state.json')
  const text = readIfThere(path)
  if (text !== undefined) return parseState(text, path)
  const secret = () => randomBytes(32).toString('hex')
  const state: State = {
    version: 1,
    keySecret: secret(),
    fleetSecret: secret(),
    operatorKey: `tmop_${secret()}`,
    tenantId: 'demo',
    apiKey: null,
    workerEpochs: { latency: 1, throughput: 1 },
  }
  writeState(home, state)
  return state
}

export function writeState(home: string, state: State): void {
  writePrivate(join(home, 'state.json'), JSON.stringify(state, null, 2))
}

/** Readable by the owner only, and whole at every moment. */
export function writePrivate(path: string, text: string): void {
  const temporary = `${path}.${process.pid}`
  writeFileSync(temporary, `${text}\n`, { mode: 0o600 })
  renameSync(temporary, path)
}

/**
 * Takes the folder for this process: two workerds on one folder would both write the same objects, unseen by each other.
 * Throws one sentence when another process has it. Returns the function that gives it back.
 */
export function lockHome(home: string): () => void {
  mkdirSync(home, { recursive: true, mode: 0o700 })
  const path = join(home, 'lock')
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const file = openSync(path, 'wx', 0o600)
      writeFileSync(file, String(process.pid))
      closeSync(file)
      return () => rmSync(path, { force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      const holder = Number(readIfThere(path))
      if (holder && isAlive(holder)) {
        throw new Error(
          `${home} is in use by process ${holder}: stop that one, or set TRAMONTANE_HOME to another folder`,
        )
      }
      rmSync(path, { force: true })
    }
  }
  throw new Error(`${path} cannot be taken: remove it if nothing else runs`)
}

function parseState(text: string, path: string): State {
  const advice = 'restore it, or move it away to begin anew (keys made before will no longer work)'
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error(`${path} is corrupt (not JSON): ${advice}`)
  }
  const parsed = State.safeParse(value)
  if (!parsed.success)
    throw new Error(`${path} is corrupt (${parsed.error.issues[0]?.path.join('.') || 'wrong shape'}): ${advice}`)
  return parsed.data
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`${path} cannot be read: ${error instanceof Error ? error.message : error}`, { cause: error })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
