/** The parameters of a usage report, for the reference. `readUsageQuery` accepts every value that these schemas accept. */
import { z } from 'zod'
import { dimensions, filterValuesMax } from './report.ts'

const date = '\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])'
const clock = '([01]\\d|2[0-3]):[0-5]\\d(:[0-5]\\d(\\.\\d{1,3})?)?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)'
const time = (text: string, example: string) =>
  z
    .string()
    .regex(new RegExp(`^(\\d{1,15}|${date}(T${clock})?)$`))
    .optional()
    .describe(`${text} A date, a date-time with its time zone, or Unix milliseconds.`)
    .meta({ examples: [example] })

const filter = (what: string, example: string) =>
  z
    .string()
    .optional()
    .describe(`Only these ${what}, at most ${filterValuesMax}, separated by commas. Default: all.`)
    .meta({ examples: [example] })

const dimension = `(${dimensions.join('|')})`

export const UsageParameters = z.object({
  from: time('Start of the report, UTC, rounded down to the hour. Default: seven days before `to`.', '2026-11-01'),
  to: time('End of the report, exclusive, UTC, rounded up to the hour. Default: now.', '2026-12-01'),
  bucket: z
    .enum(['day', 'hour', 'all'])
    .default('day')
    .describe('Period of a row. A report has at most 800 days by `day`, 62 by `hour`, and 4,000 by `all`.')
    .meta({ examples: ['day'] }),
  group_by: z
    .string()
    .regex(new RegExp(`^(${dimension}(,${dimension})*)?$`))
    .optional()
    .describe(`Any of ${dimensions.join(', ')}, separated by commas: one row for each combination. Default: none.`)
    .meta({ examples: ['key,model'] }),
  format: z
    .enum(['json', 'jsonl', 'csv'])
    .default('json')
    .describe('Format of the answer.')
    .meta({ examples: ['json'] }),
  key: filter('key ids', 'k2v7mq3xw5ndab4e'),
  model: filter('models', 'mistral-small-4'),
  effort: filter('efforts', 'none,high'),
  pool: filter('pools', 'latency'),
  outcome: filter('outcomes', 'finished'),
})
