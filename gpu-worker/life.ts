/**
 * The identity of a worker process in the fleet: a random instance id, its start time, the process it replaces, and how
 * that process ended. It is stored in `life.json` in the worker's folder. One process holds that folder at a time, so
 * the process noted in it has ended, and its successor takes over at once instead of waiting for missed heartbeats.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { budgets } from '../backends/model/budgets.ts'
import { cleanText } from '../backends/model/clean-text.ts'
import type { Heartbeat } from '../backends/wire/heartbeat.ts'

const Noted = z.object({
  instance: z.string().min(1).max(64),
  /** True after an orderly end. */
  ended: z.boolean(),
})

/** The note that the watchdog writes before it kills the process. */
const EndNote = z.object({ reason: z.string(), at: z.int() })
export const endNoteName = 'end.json'

type LifeSigns = Pick<Heartbeat, 'sentAt' | 'instance' | 'startedAt' | 'replaces' | 'lastEnd'>

export interface ProcessLife {
  /** Returns the fields for the next heartbeat. */
  signs(): LifeSigns
  /** Notes an orderly end. */
  ended(): void
}

/** A clock set back further than this starts a new instance: the fleet ignores heartbeats older than the last. */
const stepBackMs = 1_000

export function beginLife(folder: string, now: () => number, log: (line: string) => void): ProcessLife {
  const path = join(folder, 'life.json')
  const before = readNote(path, Noted)
  const lastEnd = howItEnded(folder, before)
  if (lastEnd) log(lastEnd)
  let startedAt = now()
  let instance = randomUUID()
  let replaces = before?.instance ?? null
  let lastSentAt = 0
  const note = (ended: boolean) => writeNote(path, { instance, ended }, log)
  note(false)
  return {
    signs() {
      const at = now()
      if (at < lastSentAt - stepBackMs) {
        replaces = instance
        instance = randomUUID()
        startedAt = at
        lastSentAt = 0
        note(false)
      }
      lastSentAt = Math.max(at, lastSentAt + 1)
      return { sentAt: lastSentAt, instance, startedAt, replaces, lastEnd }
    },
    ended: () => note(true),
  }
}

function howItEnded(folder: string, before: z.infer<typeof Noted> | undefined): string | null {
  const path = join(folder, endNoteName)
  const end = readNote(path, EndNote)
  rmSync(path, { force: true })
  if (end) {
    const text = `the watchdog of the previous process killed it at ${new Date(end.at).toISOString()}: ${end.reason}`
    return cleanText(text, budgets.workerReasonCharacters.value)
  }
  if (!before || before.ended) return null
  return 'the previous process did not shut down cleanly: it crashed, was killed, or its host went down'
}

/** Returns undefined for a missing or unreadable note: a worker can start without it. */
function readNote<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return undefined
  }
}

/** Replaces the file atomically. A failed write is only logged: it must not stop the worker. */
function writeNote(path: string, note: z.infer<typeof Noted>, log: (line: string) => void): void {
  try {
    writeFileSync(`${path}.new`, JSON.stringify(note), { mode: 0o600 })
    renameSync(`${path}.new`, path)
  } catch (error) {
    log(
      `cannot write ${path} (${error instanceof Error ? error.message : error}). The next restart takes some seconds longer`,
    )
  }
}
