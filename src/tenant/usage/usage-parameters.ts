/** The parameters of a usage report, for the reference. */
import { z } from 'zod'

const time = (text: string) => z.string().optional().describe(`${text}: a date, a date-time or Unix milliseconds, UTC`)
const filter = z.string().optional().describe('only these values, separated by commas')

export const UsageParameters = z.object({
  from: time('start of the report'),
  to: time('end of the report, exclusive'),
  bucket: z.enum(['day', 'hour', 'all']).default('day'),
  group_by: z.string().optional().describe('any of key, model, effort, pool, outcome, separated by commas'),
  format: z.enum(['json', 'jsonl', 'csv']).default('json'),
  key: filter,
  model: filter,
  effort: filter,
  pool: filter,
  outcome: filter,
})
