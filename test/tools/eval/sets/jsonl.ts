/** One JSON object per line, each checked against its schema; an invalid line is reported by number, never dropped. */
import type { z } from 'zod'

interface Fault {
  line: number
  why: string
}

export interface Reading<Item> {
  items: Item[]
  faults: Fault[]
}

/** `make` may refuse a line by throwing an error of one sentence. */
export function readLines<Row, Item>(
  text: string,
  schema: z.ZodType<Row>,
  make: (row: Row, line: number) => Item,
): Reading<Item> {
  const reading: Reading<Item> = { items: [], faults: [] }
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (!line.trim()) continue
    try {
      reading.items.push(make(parsed(schema, line), index + 1))
    } catch (error) {
      reading.faults.push({ line: index + 1, why: error instanceof Error ? error.message : String(error) })
    }
  }
  return reading
}

function parsed<Row>(schema: z.ZodType<Row>, line: string): Row {
  const checked = schema.safeParse(json(line))
  if (checked.success) return checked.data
  const issue = checked.error.issues[0]
  throw new Error(`${issue?.path.join('.') || 'the object'}: ${issue?.message ?? 'invalid value'}`)
}

function json(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw new Error('not JSON')
  }
}
