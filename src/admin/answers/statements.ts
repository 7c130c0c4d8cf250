/** Answers about statements. */
import { z } from 'zod'
import type { Statement } from '../../tenant/statements/statement.ts'
import { Count, Id, Time } from './fields.ts'

const Nano = z.int()
const summary = {
  period: z.string().describe('The calendar month in which it begins, such as `2026-11`.'),
  from: Time.describe('Its beginning in Unix milliseconds.'),
  to: Time.describe('Its end in Unix milliseconds, exclusive.'),
  firstDay: z.string().describe('In the time zone of the tenant.'),
  lastDay: z.string().describe('In the time zone of the tenant.'),
  status: z
    .enum(['open', 'closed'])
    .describe('`open` until the month is over: later entries change an open statement.'),
  openingBalanceNano: Nano.describe('Credit less cost before the month, in nano-dollars.'),
  creditsNano: Nano,
  reversalsNano: Nano.describe('Credit that was taken back: zero or negative.'),
  chargesNano: Nano.describe('Charges by correction: zero or negative.'),
  refundsNano: Nano.describe('Refunds by correction: zero or positive.'),
  usageNano: Nano.describe('Cost of requests: zero or negative.'),
  closingBalanceNano: Nano.describe('The sum of the six amounts above.'),
}

const ListedStatement = z.strictObject(summary).meta({ id: 'ListedStatement' })

export const StatementList = z
  .strictObject({
    object: z.literal('list'),
    data: z.array(ListedStatement),
    next: z.null().describe('Always null: there is one page, of at most 240 months.'),
  })
  .meta({ id: 'StatementList' })

export const StatementAnswer = z
  .strictObject({
    object: z.literal('statement'),
    tenantId: Id,
    name: z.string(),
    timeZone: z.string(),
    anchorDay: Count,
    ...summary,
    usage: z.array(
      z.strictObject({
        model: z.string(),
        effort: z.string(),
        requests: Count,
        promptTokens: Count,
        cachedTokens: Count,
        outputTokens: Count,
        reasoningTokens: Count,
        amountNano: Nano,
      }),
    ),
    entries: z.array(
      z.strictObject({
        entry: Count.describe('Number of the entry in the ledger; 0 for the sum of those before it was kept.'),
        at: Time,
        kind: z.string().describe('Such as `credit`, `reversal` or `correction`.'),
        creditNano: Nano,
        costNano: Nano,
        requestId: Id.nullable(),
        note: z.string().nullable(),
        id: z.string().nullable().describe('The id with which it was posted.'),
        amountNano: Nano.describe('The change of the balance.'),
      }),
    ),
    entriesLeftOut: z.boolean().describe('Whether the month has more entries than are listed. All are in the sums.'),
  })
  .meta({ id: 'Statement' }) satisfies z.ZodType<Statement>

export const statementFiles = [
  { status: 200, type: 'text/csv', answer: 'text' },
  { status: 200, type: 'text/html', answer: 'text' },
] as const
