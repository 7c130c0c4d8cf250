/**
 * The state folder of a local installation (TRAMONTANE_HOME, by default `.tramontane`): secrets and the demo tenant in
 * `state.json`, workerd's databases in `edge/`, worker outboxes in `workers/`, and the running processes in
 * `demo.json`.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { poolNames } from '../../backends/wire/dispatch.ts'

const State = z.object({
  version: z.literal(1),
  keySecret: z.string().min(32),
  /** The secret before a rotation, whose keys stay valid while it is here. */
  keySecretPrevious: z.string().min(32).exactOptional(),
  fleetSecret: z.string().min(32),
  fleetSecretPrevious: z.string().min(32).exactOptional(),
  operatorKey: z.string().min(32),
  tenantId: z.string(),
  apiKey: z.string().nullable(),
  /** Key epochs of the last enrolment of the local workers. */
  workerEpochs: z.record(z.enum(poolNames), z.int().min(1)).default({ latency: 1, throughput: 1 }),
})
export type State = z.infer<typeof State>

/** Reads the state, or creates it. Throws when the file exists but cannot be used. */
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

/** Writes atomically; only the owner can read the file. */
export function writePrivate(path: string, text: string): void {
  const temporary = `${path}.${process.pid}`
  writeFileSync(temporary, `${text}\n`, { mode: 0o600 })
  renameSync(temporary, path)
}

/**
 * Locks the folder for this process, because two workerd processes on one folder would overwrite each other's objects.
 * Throws when another process holds the lock. Returns the function that releases it.
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
          `${home} is in use by process ${holder}. Stop that process, or set TRAMONTANE_HOME to another folder.`,
        )
      }
      rmSync(path, { force: true })
    }
  }
  throw new Error(`cannot create the lock ${path}. Remove the file if no other process uses the folder.`)
}

function parseState(text: string, path: string): State {
  const advice = 'Restore it, or move it away to start again (existing keys will then be invalid).'
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error(`${path} is corrupt (not JSON). ${advice}`)
  }
  const parsed = State.safeParse(value)
  if (!parsed.success)
    throw new Error(`${path} is corrupt (${parsed.error.issues[0]?.path.join('.') || 'wrong shape'}). ${advice}`)
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
