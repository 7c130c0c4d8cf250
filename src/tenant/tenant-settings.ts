/** The settings of a tenant. The descriptions are the text of the settings guide. */
import { z } from 'zod'
import { priorityClasses, weightMax } from '../fleet/queue/fair-queue.ts'
import { isTimeZone } from './limits/calendar.ts'

export const TenantSettings = z.object({
  effortUnknown: z
    .enum(['map', 'reject'])
    .default('map')
    .describe('Whether an effort that the model does not have is mapped to one that it has, or refused.'),
  retentionDays: z
    .int()
    .min(1)
    .max(3_650)
    .default(90)
    .describe(
      'Days that settled requests are kept one by one. Sums of quarter hours are kept as long as the tenant exists.',
    ),
  weight: z
    .int()
    .min(1)
    .max(weightMax)
    .default(100)
    .describe('The tenant’s share when slots are short: twice the weight gets twice the tokens.'),
  class: z
    .enum(priorityClasses)
    .default('interactive')
    .describe('Batch requests wait behind interactive ones; at least one of every eight grants is batch.'),
  hosted: z
    .enum(['never', 'last-resort'])
    .default('never')
    .describe('Whether requests may be sent to a hosted API when no worker is available in time.'),
  responseDays: z.int().min(0).max(365).default(30).describe('Days that stored responses are kept. 0 stores none.'),
  corsOrigins: z
    .array(
      z.union([
        z.literal('*'),
        z
          .string()
          .max(256)
          .regex(/^[a-z][a-z0-9+.-]*:\/\/[^\s/]+$/, 'must be an origin, as https://example.com, or "*"'),
      ]),
    )
    .max(32)
    .default([])
    .describe('Origins whose pages in browsers may read answers; `"*"` allows every origin.'),
  underLoad: z
    .enum(['wait', 'lower-effort'])
    .default('wait')
    .describe('Under overload, whether requests wait or are served with the least effort. The answer discloses it.'),
  timeZone: z
    .string()
    .max(64)
    .refine(isTimeZone, 'must be an IANA time zone, such as Europe/Berlin or UTC')
    .default('UTC')
    .describe('The IANA time zone of days, weeks and months: of budgets, reports and statements.'),
  anchorDay: z
    .int()
    .min(1)
    .max(28)
    .default(1)
    .describe('The day on which a month begins, 1 to 28: of monthly budgets, reports by month and statements.'),
  alertBudgetShares: z
    .array(z.number().min(0.01).max(1))
    .max(10)
    .default([0.8, 1])
    .describe('Shares of a budget of the tenant or of a key that raise an alert, from 0.01 to 1, at most 10.'),
  alertCreditNano: z
    .array(z.int().min(0))
    .max(10)
    .default([])
    .describe('Nano-dollars: an alert is raised when less credit than this remains. At most 10 amounts.'),
  alertKeyExpiryDays: z
    .int()
    .min(0)
    .max(365)
    .default(7)
    .describe('Days before a key expires that an alert is raised. 0: none.'),
})
export type TenantSettings = z.infer<typeof TenantSettings>
