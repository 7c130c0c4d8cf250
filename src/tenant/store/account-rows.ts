/** The table `account`, which has one row: the tenant. */
import { z } from 'zod'
import type { Account } from '../ledger/ledger.ts'
import type { ZonedTime } from '../limits/calendar.ts'
import type { LimitState, Limits } from '../limits/limits.ts'
import { TenantSettings } from '../tenant-settings.ts'
import { readLimits } from './limit-columns.ts'
import type { OpenReservations } from './open-reservations.ts'
import { int, maybeInt, type Sql, type SqlRow, text } from './sql.ts'

export const tenantStatuses = ['active', 'suspended'] as const
export type TenantStatus = (typeof tenantStatuses)[number]
/** With that of a deleted tenant, which is not stored as a status. */
export const shownStatuses = [...tenantStatuses, 'deleted'] as const
export type ShownStatus = (typeof shownStatuses)[number]

export interface Tenant extends Account {
  tenantId: string
  name: string
  /** A suspended tenant can only read its own usage and limits. */
  status: TenantStatus
  createdAt: number
  /** Number and hash of the last entry. */
  chainSeq: number
  chainHash: string
  limits: Limits
  state: LimitState
  settings: TenantSettings
  /** When the tenant was deleted, and when its books are removed; null for a tenant that exists. */
  deletedAt: number | null
  purgeAt: number | null
}

/** A time in the calendar of its tenant. */
export function zoned({ settings }: Pick<Tenant, 'settings'>, at: number): ZonedTime {
  return { at, calendar: settings }
}

export class AccountRows {
  readonly #sql: Sql
  readonly #open: OpenReservations

  constructor(sql: Sql, open: OpenReservations) {
    this.#sql = sql
    this.#open = open
  }

  find(): Tenant | undefined {
    const row = this.#sql.all('SELECT * FROM account WHERE id = 1')[0]
    return row && this.#open.account(readTenant(row), int(row, 'version'))
  }

  put(tenant: Tenant): void {
    this.#sql.run(
      `INSERT OR REPLACE INTO account (id, tenant_id, name, status, created_at, credit_nano, posted_nano,
        reserved_nano, chain_seq, chain_hash, limits, state, settings, deleted_at, purge_at, version)
        VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ...[tenant.tenantId, tenant.name, tenant.status, tenant.createdAt],
      ...[tenant.creditNano, tenant.postedNano, tenant.reservedNano, tenant.chainSeq, tenant.chainHash],
      ...[JSON.stringify(tenant.limits), JSON.stringify(tenant.state), JSON.stringify(tenant.settings)],
      ...[tenant.deletedAt, tenant.purgeAt, this.#open.version()],
    )
  }

  /** Writes the columns that change with every request. */
  putBalances(tenant: Tenant): void {
    if (this.#open.carryAccount(tenant)) return
    this.#sql.run(
      `UPDATE account SET credit_nano = ?, posted_nano = ?, reserved_nano = ?, chain_seq = ?, chain_hash = ?, state = ?,
        version = ? WHERE id = 1`,
      ...[tenant.creditNano, tenant.postedNano, tenant.reservedNano, tenant.chainSeq, tenant.chainHash],
      ...[JSON.stringify(tenant.state), this.#open.version()],
    )
  }
}

function readTenant(row: SqlRow): Tenant {
  return {
    tenantId: text(row, 'tenant_id'),
    name: text(row, 'name'),
    status: z.enum(tenantStatuses).parse(row.status),
    createdAt: int(row, 'created_at'),
    creditNano: int(row, 'credit_nano'),
    postedNano: int(row, 'posted_nano'),
    reservedNano: int(row, 'reserved_nano'),
    chainSeq: int(row, 'chain_seq'),
    chainHash: text(row, 'chain_hash'),
    ...readLimits(row),
    settings: TenantSettings.parse(JSON.parse(text(row, 'settings'))),
    deletedAt: maybeInt(row, 'deleted_at'),
    purgeAt: maybeInt(row, 'purge_at'),
  }
}
