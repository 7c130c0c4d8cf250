/** `GET /admin/usage`: usage of all tenants, from the sums of days that the tenant objects copy into D1. */
import { z } from 'zod'
import { safeInteger } from '../../backends/model/money.ts'
import { GatewayError } from '../http/errors.ts'
import type { Route } from '../http/route.ts'
import { dayMs, utcMonths } from '../tenant/limits/calendar.ts'
import { accept } from '../tenant/stub.ts'
import { readTimeBounds, resolveBounds, spanFault } from '../tenant/usage/time-bounds.ts'
import { timeParameter } from '../tenant/usage/usage-parameters.ts'
import { Count } from './answers/fields.ts'
import { operatorRoute } from './operator-route.ts'
import { TenantId } from './parameters.ts'

const columns = { tenant: 'tenant_id', model: 'model', effort: 'effort', pool: 'pool', outcome: 'outcome' } as const
const dimensions = Object.keys(columns) as (keyof typeof columns)[]
const buckets = ['day', 'month', 'all'] as const
const starts = {
  day: 'day',
  month: "unixepoch(day / 1000, 'unixepoch', 'start of month') * 1000",
  all: '?',
} satisfies Record<(typeof buckets)[number], string>
const rowsMax = 20_000
const daysMax = 800

const FleetUsageQuery = z.object({
  from: timeParameter(
    'Start of the report, rounded down to the day in UTC. Default: 30 days before `to`.',
    '2026-11-01',
  ),
  to: timeParameter('End of the report, exclusive, rounded up to the day in UTC. Default: now.', '2026-12-01'),
  bucket: z
    .enum(buckets)
    .default('day')
    .describe('Period of a row, in UTC.')
    .meta({ examples: ['month'] }),
  groupBy: z
    .string()
    .regex(
      new RegExp(`^(${dimensions.join('|')})(,(${dimensions.join('|')}))*$`),
      `must be some of ${dimensions.join(', ')}`,
    )
    .optional()
    .describe(`Any of ${dimensions.join(', ')}, separated by commas. Default: none.`)
    .meta({ examples: ['tenant,model'] }),
  tenantId: TenantId.optional().describe('Only usage of this tenant.'),
})

const Sums = {
  requests: Count,
  prompt_tokens: Count,
  cached_tokens: Count,
  output_tokens: Count,
  reasoning_tokens: Count,
  cost_nano: z.int(),
  estimated_requests: Count,
}
const sumNames = Object.keys(Sums) as (keyof typeof Sums)[]

const FleetUsageReport = z
  .strictObject({
    object: z.literal('usage'),
    from: z.string(),
    to: z.string(),
    bucket: z.enum(buckets),
    groupBy: z.array(z.enum(dimensions)),
    data: z.array(
      z.strictObject({
        start: z.string(),
        ...Object.fromEntries(dimensions.map((name) => [name, z.string().exactOptional()])),
        ...Sums,
      }),
    ),
    totals: z.strictObject(Sums),
  })
  .meta({ id: 'FleetUsageReport' })

export const fleetUsage: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/usage',
      id: 'reportFleetUsage',
      tag: 'Tenants',
      summary: 'Report the usage of all tenants',
      description: 'Days are those of UTC. Usage of the last 15 minutes may be missing.',
      scope: 'usage:read',
      query: FleetUsageQuery,
      answer: FleetUsageReport,
    },
    async (context, { query }) => {
      const { bucket, groupBy: names, tenantId } = query
      const bounds = readTimeBounds(new URL(context.req.url).searchParams)
      const period = accept(resolveBounds(bounds, utcMonths, Date.now(), 30 * dayMs))
      const from = Math.floor(period.from / dayMs) * dayMs
      const to = Math.ceil(period.to / dayMs) * dayMs
      const fault = spanFault({ from, to }, daysMax, 'Choose a shorter period.')
      if (fault !== undefined) throw new GatewayError('invalid_value', fault, { param: 'from' })
      const groupBy = dimensions.filter((name) => names?.split(',').includes(name))
      const selected = groupBy.map((name) => `${columns[name]} AS ${name}`)
      const groups = ['start', ...groupBy].join(', ')
      const sums = sumNames.map((name) => `sum(${name === 'estimated_requests' ? 'estimated' : name}) AS ${name}`)
      const statement = `SELECT ${[`${starts[bucket]} AS start`, ...selected, ...sums].join(', ')} FROM usage_days
        WHERE day >= ? AND day < ? ${tenantId === undefined ? '' : 'AND tenant_id = ?'}
        GROUP BY ${groups} ORDER BY ${groups} LIMIT ?`
      const values = [...(bucket === 'all' ? [from] : []), from, to, ...(tenantId === undefined ? [] : [tenantId])]
      const { results } = await context.env.DB.prepare(statement)
        .bind(...values, rowsMax + 1)
        .all<Record<keyof typeof Sums, number> & { start: number }>()
      if (results.length > rowsMax) {
        const message = `group_by: the report has more than ${rowsMax} rows. Choose a shorter period or fewer dimensions.`
        throw new GatewayError('invalid_value', message, { param: 'group_by' })
      }
      const totals = Object.fromEntries(
        sumNames.map((name) => [name, safeInteger(results.reduce((sum, row) => sum + row[name], 0))]),
      )
      const iso = (at: number) => new Date(at).toISOString()
      const data = results.map((row) => ({ ...row, start: iso(row.start) }))
      return { object: 'usage', from: iso(from), to: iso(to), bucket, groupBy, data, totals }
    },
  ),
]
