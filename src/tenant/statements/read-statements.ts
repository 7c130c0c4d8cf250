/** Statements of a tenant, from the sums that are kept as long as the tenant exists. */
import type { TenantAccount } from '../account.ts'
import type { Period } from '../limits/calendar.ts'
import { admitTo, denied, type Requester, type TenantResult } from '../permissions.ts'
import type { Tenant } from '../store/account-rows.ts'
import {
  amountsOf,
  balanceOf,
  entryLine,
  type PeriodSums,
  type Statement,
  type StatementAmounts,
  type StatementPeriod,
  statementEntriesMax,
  statementPeriod,
  statementPeriods,
  usageLine,
} from './statement.ts'

export type StatementSummary = StatementPeriod & StatementAmounts

/** Newest first. */
export function listStatements(account: TenantAccount, by: Requester, now: number): TenantResult<StatementSummary[]> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const { tenant } = caller.value
  const periods = statementPeriods(firstAt(account, tenant), now, tenant.settings)
  let balanceNano = balanceOf(sumsOf(account, { from: 0, to: periods.at(-1)?.from ?? 0 }))
  const oldestFirst = periods.toReversed().map((period) => {
    const amounts = amountsOf(balanceNano, sumsOf(account, period))
    balanceNano = amounts.closingBalanceNano
    return { ...period, ...amounts }
  })
  return { ok: true, value: oldestFirst.reverse() }
}

export function showStatement(
  account: TenantAccount,
  by: Requester,
  name: string,
  now: number,
): TenantResult<Statement> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const { tenant } = caller.value
  const period = statementPeriod(name, firstAt(account, tenant), now, tenant.settings)
  if (!period) return denied('not_found', 'period: there is no statement of this month. List the statements.', 'period')
  const { timeZone, anchorDay } = tenant.settings
  const rows = account.store.money.list(period, statementEntriesMax)
  return {
    ok: true,
    value: {
      ...{ tenantId: tenant.tenantId, name: tenant.name, timeZone, anchorDay },
      ...period,
      ...amountsOf(balanceOf(sumsOf(account, { from: 0, to: period.from })), sumsOf(account, period)),
      usage: account.store.usage.byModel(period).map(usageLine),
      entries: rows.slice(0, statementEntriesMax).map(entryLine),
      entriesLeftOut: rows.length > statementEntriesMax,
    },
  }
}

function sumsOf({ store }: TenantAccount, period: Period): PeriodSums {
  return { money: store.money.sums(period), usageNano: store.usage.costOf(period) }
}

/** Usage may be older than the account: a restored tenant has the usage of its export. */
function firstAt(account: TenantAccount, { createdAt }: Tenant): number {
  return Math.min(createdAt, account.store.usage.firstAt() ?? createdAt)
}
