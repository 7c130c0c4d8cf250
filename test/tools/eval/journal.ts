/**
 * What was asked and what came of it, one JSON line a finished case. A line is found again by its key, so that a run that
 * was stopped goes on where it was; the last line of a killed run may be half a line, and is then asked again.
 */
import { z } from 'zod'

const Settings = z.object({ temperature: z.number(), tokensMax: z.int().nullable() })

const Count = z.int().min(0)

export const Entry = z.object({
  task: z.string(),
  effort: z.string(),
  id: z.string(),
  model: z.string(),
  settings: Settings,
  right: z.boolean(),
  score: z.number(),
  /** What the model wrote, cut: for reading why a case is wrong. */
  said: z.string(),
  finish: z.string().nullable(),
  /** Why the server did not take the case at all (too long a prompt); it counts as wrong. */
  refused: z.string().nullable(),
  effortServed: z.string().nullable(),
  tokens: z.object({ prompt: Count, cached: Count.nullable(), output: Count, reasoning: Count.nullable() }).nullable(),
  firstTokenMs: z.number().nullable(),
  tokenMs: z.number().nullable(),
})
export type Entry = z.infer<typeof Entry>

export type Key = Pick<Entry, 'task' | 'effort' | 'id' | 'model' | 'settings'>

export function keyOf({ task, effort, id, model, settings }: Key): string {
  return JSON.stringify([task, effort, id, model, settings.temperature, settings.tokensMax])
}

/** Of two lines with one key the later stands. `torn` counts lines that are no entry. */
export function readJournal(text: string): { entries: Map<string, Entry>; torn: number } {
  const entries = new Map<string, Entry>()
  let torn = 0
  for (const line of text.split('\n')) {
    if (!line.trim()) continue
    const entry = entryOf(line)
    if (entry) entries.set(keyOf(entry), entry)
    else torn++
  }
  return { entries, torn }
}

function entryOf(line: string): Entry | undefined {
  try {
    return Entry.safeParse(JSON.parse(line)).data
  } catch {
    return undefined
  }
}
