/**
 * A change of a tenant's time zone or anchor day, which begins other budget windows. What was spent and reserved since
 * their start counts in them, so a change never renews a budget early.
 *
 * Usage counts at settlement and a budget at admission, so the sum may include a request that was admitted before the
 * window began: too much for one window, never too little.
 */
import type { TenantAccount } from './account.ts'
import type { BudgetWindow } from './limits/budget-window.ts'
import { windowStart, type ZonedTime } from './limits/calendar.ts'
import { budgetTime, type LimitState } from './limits/limits.ts'
import { type Tenant, zoned } from './store/account-rows.ts'

/** Returns the changed tenant with its budgets in its calendar, and puts its keys. */
export function movedBudgets(account: TenantAccount, before: Tenant, after: Tenant, now: number): Tenant {
  const { timeZone, anchorDay } = before.settings
  if (timeZone === after.settings.timeZone && anchorDay === after.settings.anchorDay) return after
  const keys = account.store.keys.all()
  const at = zoned(after, budgetTime([after.state, ...keys.map(({ state }) => state)], now))
  const spent = { day: spentSince(account, 'day', at), month: spentSince(account, 'month', at) }
  const moved = (state: LimitState, keyId?: string): LimitState => {
    const windows = budgetKinds.flatMap((kind) => {
      const old = state.windows[kind]
      return old ? [[kind, windowSince(account, old, spent[kind], keyId)]] : []
    })
    return { ...state, windows: { ...state.windows, ...Object.fromEntries(windows) } }
  }
  for (const key of keys) account.putKey({ ...key, state: moved(key.state, key.keyId) })
  return { ...after, state: moved(after.state) }
}

const budgetKinds = ['day', 'month'] as const

interface SpentByKey {
  start: number
  byKey: ReadonlyMap<string, number>
}

function spentSince(account: TenantAccount, kind: 'day' | 'month', at: ZonedTime): SpentByKey {
  const start = windowStart(kind, at)
  return { start, byKey: account.store.usage.spentSince(start) }
}

function windowSince(account: TenantAccount, old: BudgetWindow, spent: SpentByKey, keyId?: string): BudgetWindow {
  const { start, byKey } = spent
  const spentNano = keyId === undefined ? sum([...byKey.values()]) : (byKey.get(keyId) ?? 0)
  const open = account.store.reservations
    .open()
    .filter((each) => each.openedAt >= start && (keyId === undefined || each.keyId === keyId))
  return {
    window: start,
    postedNano: start <= old.window ? Math.max(spentNano, old.postedNano) : spentNano,
    reservedNano: sum(open.map(({ boundNano }) => boundNano)),
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
