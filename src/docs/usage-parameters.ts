/** The question of a usage report, for the reference; `metering/usage.ts` reads it. */
import { z } from 'zod'

const time = (what: string) => z.string().optional().describe(`${what}: a date, a date-time or Unix milliseconds, UTC`)
const filter = z.string().optional().describe('only these; several with commas between')

export const UsageParameters = z.object({
  from: time('the first hour'),
  to: time('the end, not in it'),
  bucket: z.enum(['day', 'hour', 'all']).default('day'),
  group_by: z.string().optional().describe('any of key, model, effort, pool, outcome, with commas between'),
  format: z.enum(['json', 'jsonl', 'csv']).default('json'),
  key: filter,
  model: filter,
  effort: filter,
  pool: filter,
  outcome: filter,
})
