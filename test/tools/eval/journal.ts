/**
 * The journal of finished cases, one JSON line each. Each line has a key, so that a stopped run continues from there.
 * The last line of a killed run may be incomplete; its case is then asked again.
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
  /** The model's text, truncated, to see why a case is wrong. */
  said: z.string(),
  finish: z.string().nullable(),
  /** Why the server refused the case (for example, a prompt that is too long); it counts as wrong. */
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

/** Of two lines with one key the later one counts. `torn` counts lines that are not entries. */
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
