/** The parameters of a usage report, for the reference. `readUsageQuery` accepts every value that these schemas accept. */
import { z } from 'zod'
import { dimensions, filterValuesMax, usageBuckets } from './report.ts'

const ofMonth = '((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))'
const date = `2[01]\\d{2}-${ofMonth}`
const clock = '([01]\\d|2[0-3]):[0-5]\\d(:[0-5]\\d(\\.\\d{1,3})?)?(Z|[+-](0\\d|1[0-4]):[0-5]\\d)'

/** The pattern leaves out 29 February, which only some years have. */
export const timeParameter = (text: string, example: string) =>
  z
    .string()
    .regex(new RegExp(`^([1-6]\\d{12}|${date}(T${clock})?)$`))
    .optional()
    .describe(`${text} A date in the tenant’s time zone, a date-time with its time zone, or Unix milliseconds.`)
    .meta({ examples: [example] })

const filter = (what: string, example: string) =>
  z
    .string()
    .optional()
    .describe(`Only these ${what}, at most ${filterValuesMax}, separated by commas. Default: all.`)
    .meta({ examples: [example] })

const label = (what: string) =>
  z
    .string()
    .optional()
    .describe(
      `Only this ${what}; repeat the parameter for more, up to ${filterValuesMax}. Reports by end user or tag have whole days.`,
    )
    .meta({ examples: ['team:search'] })

const dimension = `(${dimensions.join('|')})`

export const UsageParameters = z.object({
  from: timeParameter(
    'Start of the report, rounded down to the quarter hour. Default: seven days before `to`.',
    '2026-11-01',
  ),
  to: timeParameter(
    'End of the report, exclusive, rounded up to the quarter hour. The same date as `from` means that day. Default: now.',
    '2026-12-01',
  ),
  bucket: z
    .enum(usageBuckets)
    .default('day')
    .describe(
      'Period of a row, in the tenant’s time zone. Weeks begin on Monday, months on the anchor day. A report has at most 62 days by `hour`, 800 by `day`, and 4,000 by the others.',
    )
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
  user: label('end user'),
  tag: label('tag'),
})

const whole = (text: string, example: number) =>
  z
    .string()
    .regex(/^-?\d{1,15}$/)
    .optional()
    .describe(text)
    .meta({ examples: [String(example)] })

/** The parameters of a list of requests. `readRequestQuery` accepts every value that these schemas accept. */
export const RequestParameters = z.object({
  limit: z
    .string()
    .regex(/^([1-9]\d{0,2}|1000)$/)
    .default('100')
    .describe('Maximum number of items in the answer, from 1 to 1,000.')
    .meta({ examples: ['100'] }),
  before: z
    .string()
    .max(64)
    .optional()
    .describe('The `next` of the previous page. Without it, the list starts with the newest request.')
    .meta({ examples: ['req_019ad0c2f4b7e8a1903c5d6e7f8091a2'] }),
  from: timeParameter('Only requests that were admitted from then on.', '2026-11-01'),
  to: timeParameter('Only requests that were admitted before. The same date as `from` means that day.', '2026-12-01'),
  key: filter('key ids', 'k2v7mq3xw5ndab4e'),
  model: filter('models', 'mistral-small-4'),
  effort: filter('efforts', 'none,high'),
  pool: filter('pools', 'latency'),
  outcome: filter('outcomes', 'running,failed'),
  cost_nano_min: whole('Only requests of at least this cost in nano-dollars.', 1_000_000),
  cost_nano_max: whole('Only requests of at most this cost in nano-dollars.', 50_000_000),
  user: z
    .string()
    .optional()
    .describe('Only requests of this end user.')
    .meta({ examples: ['user-4711'] }),
  tag: z
    .string()
    .optional()
    .describe('Only requests with this tag.')
    .meta({ examples: ['team:search'] }),
})
