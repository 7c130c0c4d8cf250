/**
 * Statements: one for each month of a tenant's calendar, from its creation to now. To the nano-dollar,
 *
 *   opening balance + credits + reversals + charges and refunds + usage = closing balance
 *
 * and the closing balance of a month is the opening balance of the next. Amounts that lower the balance are negative.
 * The balance is credit less cost: open reservations are not in it.
 */
import { type Calendar, type CalendarDate, dateAt, monthOf, type Period, periodAt } from '../limits/calendar.ts'
import type { MoneyEntryRow, MoneySums } from '../store/money-rows.ts'
import type { UsageRow } from '../usage/report.ts'

export interface StatementPeriod extends Period {
  /** The calendar month in which it begins, such as `2026-11`. */
  period: string
  /** First and last day, in the time zone of the tenant. */
  firstDay: string
  lastDay: string
  /** `open` until the month is over: later entries change an open statement. */
  status: 'open' | 'closed'
}

export interface StatementAmounts {
  openingBalanceNano: number
  creditsNano: number
  reversalsNano: number
  chargesNano: number
  refundsNano: number
  usageNano: number
  closingBalanceNano: number
}

export interface StatementUsage {
  model: string
  effort: string
  requests: number
  promptTokens: number
  cachedTokens: number
  outputTokens: number
  reasoningTokens: number
  /** Negative or zero: it lowers the balance. */
  amountNano: number
}

export interface Statement extends StatementPeriod, StatementAmounts {
  tenantId: string
  name: string
  timeZone: string
  anchorDay: number
  usage: StatementUsage[]
  entries: (MoneyEntryRow & { amountNano: number })[]
  /** Entries of the month beyond those listed. Their amounts are in the sums. */
  entriesLeftOut: boolean
}

/** Twenty years. */
const periodsMax = 240
export const statementEntriesMax = 2_000

/** The months from the one that contains `createdAt` to the one that contains `now`, newest first. */
export function statementPeriods(createdAt: number, now: number, calendar: Calendar): StatementPeriod[] {
  const periods: StatementPeriod[] = []
  let { from, to } = periodAt('month', { at: now, calendar })
  while (to > createdAt && periods.length < periodsMax) {
    periods.push(described({ from, to }, now, calendar))
    const before = periodAt('month', { at: from - 1, calendar })
    from = before.from
    to = before.to
  }
  return periods
}

/** The month of this name; undefined if it is not between `createdAt` and `now`. */
export function statementPeriod(
  period: string,
  createdAt: number,
  now: number,
  calendar: Calendar,
): StatementPeriod | undefined {
  const [year = 0, month = 0] = period.split('-').map(Number)
  const { from, to } = monthOf(year, month, calendar)
  return to > createdAt && from <= now ? described({ from, to }, now, calendar) : undefined
}

/** Sums of a period, as positive costs. */
export interface PeriodSums {
  money: MoneySums
  usageNano: number
}

/** @param openingBalanceNano the balance at the beginning of the month */
export function amountsOf(openingBalanceNano: number, { money, usageNano }: PeriodSums): StatementAmounts {
  const { creditsNano, reversalsNano, chargesNano, refundsNano } = money
  return {
    openingBalanceNano,
    creditsNano,
    reversalsNano,
    chargesNano: minus(chargesNano),
    refundsNano: minus(refundsNano),
    usageNano: minus(usageNano),
    closingBalanceNano: openingBalanceNano + balanceOf({ money, usageNano }),
  }
}

export function balanceOf({ money, usageNano }: PeriodSums): number {
  const { creditsNano, reversalsNano, chargesNano, refundsNano } = money
  return creditsNano + reversalsNano - chargesNano - refundsNano - usageNano
}

export function usageLine(row: UsageRow): StatementUsage {
  return {
    model: row.model ?? '',
    effort: row.effort ?? '',
    requests: row.requests,
    promptTokens: row.prompt_tokens,
    cachedTokens: row.cached_tokens,
    outputTokens: row.output_tokens,
    reasoningTokens: row.reasoning_tokens,
    amountNano: minus(row.cost_nano),
  }
}

export function entryLine(row: MoneyEntryRow): MoneyEntryRow & { amountNano: number } {
  return { ...row, amountNano: row.creditNano - row.costNano }
}

/** Never -0, which JSON and people read as 0. */
function minus(nano: number): number {
  return nano === 0 ? 0 : -nano
}

function described({ from, to }: Period, now: number, calendar: Calendar): StatementPeriod {
  const first = dateAt({ at: from, calendar })
  return {
    ...{ from, to, period: isoDate(first).slice(0, 7), firstDay: isoDate(first) },
    lastDay: isoDate(dateAt({ at: to - 1, calendar })),
    status: now < to ? 'open' : 'closed',
  }
}

function isoDate({ year, month, day }: CalendarDate): string {
  const two = (value: number) => String(value).padStart(2, '0')
  return `${year}-${two(month)}-${two(day)}`
}
