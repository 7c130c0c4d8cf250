/**
 * The process as the fleet knows it: a random instance id, when it began, which process it replaces, and how that one
 * ended. Kept in `life.json` in the worker's folder, which one process has at a time: the process that is noted there has
 * surely ended, so that the next one takes over at once and need not wait until it is missed.
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
  /** Set when it ended in order. */
  ended: z.boolean(),
})

/** What the watchdog writes before it ends the process. */
const EndNote = z.object({ reason: z.string(), at: z.int() })
export const endNoteName = 'end.json'

type LifeSigns = Pick<Heartbeat, 'sentAt' | 'instance' | 'startedAt' | 'replaces' | 'lastEnd'>

export interface ProcessLife {
  /** For one heartbeat. */
  signs(): LifeSigns
  /** It ends in order. */
  ended(): void
}

/** A clock that was set back further than this begins another instance: the fleet ignores what is older than the last. */
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
    const text = `the process before this one was ended by its watchdog at ${new Date(end.at).toISOString()}: ${end.reason}`
    return cleanText(text, budgets.workerReasonCharacters.value)
  }
  if (!before || before.ended) return null
  return 'the process before this one did not end in order: it crashed, was killed, or its host went down'
}

/** Undefined where there is none, or none that can be read: it is only a note. */
function readNote<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return undefined
  }
}

/** Whole at every moment. A folder that cannot be written must not keep a worker from its work. */
function writeNote(path: string, note: z.infer<typeof Noted>, log: (line: string) => void): void {
  try {
    writeFileSync(`${path}.new`, JSON.stringify(note), { mode: 0o600 })
    renameSync(`${path}.new`, path)
  } catch (error) {
    log(
      `${path} cannot be written (${error instanceof Error ? error.message : error}): a restart takes some seconds longer`,
    )
  }
}
