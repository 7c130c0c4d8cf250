import type { TenantAccount } from './account.ts'
import { movedBudgets } from './change-calendar.ts'
import { changeLimits, type Limits } from './limits/limits.ts'
import { type LimitsRemaining, limitsRemaining } from './limits/remaining.ts'
import { admitTo, denied, type Requester, refuseDeleted, type TenantResult, tenantMissing } from './permissions.ts'
import type { Role } from './roles.ts'
import { type Tenant, type TenantStatus, zoned } from './store/account-rows.ts'
import type { TenantSettings } from './tenant-settings.ts'

/** Undefined fields stay unchanged; so do limits that `limits` does not name. */
export interface TenantChange {
  name?: string | undefined
  status?: TenantStatus | undefined
  limits?: LimitsChange | undefined
  settings?: Partial<TenantSettings> | undefined
}

export interface LimitsChange extends Partial<Omit<Limits, 'budgetNano'>> {
  budgetNano?: Partial<Limits['budgetNano']>
}

export interface LimitsView {
  tenant: { tenantId: string; status: TenantStatus; limits: Limits; left: LimitsRemaining; credit: Credit }
  key: {
    keyId: string
    role: Role
    expiresAt: number | null
    models: string[] | null
    limits: Limits
    left: LimitsRemaining
  }
}

interface Credit {
  creditNano: number
  spentNano: number
  reservedNano: number
  leftNano: number
}

export interface TenantView {
  name: string
  status: TenantStatus
  limits: Limits
  settings: TenantSettings
}

export function changeTenant(
  account: TenantAccount,
  change: TenantChange,
  now: number,
): TenantResult<{ before: TenantView; after: TenantView }> {
  const tenant = account.tenant()
  if (!tenant) return denied('not_found', tenantMissing)
  const refused = refuseDeleted(tenant)
  if (refused) return refused
  const limits = changedLimits(tenant.limits, change.limits)
  const after: Tenant = {
    ...tenant,
    name: change.name ?? tenant.name,
    status: change.status ?? tenant.status,
    limits,
    state: changeLimits(tenant.state, tenant.limits, limits, now),
    settings: { ...tenant.settings, ...defined(change.settings ?? {}) },
  }
  if (after.limits.budgetNano.total !== null) {
    const message =
      'limits.budgetNano.total: not supported for a tenant, whose total budget is its credit. Add credit, or set day or month.'
    return denied('invalid_value', message, 'limits.budgetNano.total')
  }
  account.putTenant(movedBudgets(account, tenant, after, now))
  account.watch(now)
  return { ok: true, value: { before: viewTenant(tenant), after: viewTenant(after) } }
}

export function limitsOf(
  account: TenantAccount,
  by: Requester & { kind: 'key' },
  now: number,
): TenantResult<LimitsView> {
  const caller = admitTo(account, by, 'read-usage', now)
  if (!caller.ok) return caller
  const { tenant } = caller.value
  const key = account.key(by.keyId)
  if (!key) return denied('invalid_api_key', 'API key not found.')
  const { tenantId, status, limits, state, creditNano, postedNano, reservedNano } = tenant
  const { keyId, role, expiresAt, models } = key
  const leftNano = creditNano - postedNano - reservedNano
  const credit = { creditNano, spentNano: postedNano, reservedNano, leftNano }
  return {
    ok: true,
    value: {
      tenant: { tenantId, status, limits, left: limitsRemaining(limits, state, zoned(tenant, now)), credit },
      key: {
        keyId,
        role,
        expiresAt,
        models,
        limits: key.limits,
        left: limitsRemaining(key.limits, key.state, zoned(tenant, now)),
      },
    },
  }
}

function viewTenant({ name, status, limits, settings }: Tenant): TenantView {
  return { name, status, limits, settings }
}

export function changedLimits(old: Limits, change: LimitsChange = {}): Limits {
  const { budgetNano, ...rates } = change
  return { ...old, ...defined(rates), budgetNano: { ...old.budgetNano, ...defined(budgetNano ?? {}) } }
}

/** Omits undefined fields, which a spread would otherwise copy over existing values. */
export function defined<Fields extends object>(
  fields: Fields,
): { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never
}
