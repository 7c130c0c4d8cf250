/** Parameters and results of the tenant object's calls. */
import type { Rates } from '../../backends/model/money.ts'
import type { PriorityClass } from '../fleet/queue/fair-queue.ts'
import type { ReadmitOrder } from './admission.ts'
import type { Limits } from './limits/limits.ts'
import type { RatesLeft } from './limits/rates-left.ts'
import type { Role } from './roles.ts'
import type { ShownStatus, TenantStatus } from './store/account-rows.ts'
import type { SqlRow } from './store/sql.ts'
import type { TenantSettings } from './tenant-settings.ts'

export interface NewTenant {
  tenantId: string
  name: string
  creditNano: number
  /** The models that the tenant can use from the start, at the list price unless `rateCards` has a card. */
  models: string[]
  rateCards?: { model: string; effectiveAt: number; rates: Rates }[]
  limits: Limits
  settings: TenantSettings
  /** The first keys. None of them has expired. */
  keys?: NewKey[]
}

export interface NewKey {
  keyId: string
  name: string
  prefix: string
  secretHash: string
  role: Role
  models: string[] | null
  class: 'batch' | null
  allowedIps: string[] | null
  limits: Limits
  expiresAt: number | null
}

export interface Admission {
  ok: true
  rates: Rates
  /** Price of a hosted API's answer; null if the tenant does not allow the hosted fallback or has no card for it. */
  hostedRates: Rates | null
  boundNano: number
  outputTokensMax: number
  /** See `Admitted.settleFirst`. */
  settleFirst: boolean
  /** Queueing weight and class, from the settings of the tenant and the key. */
  weight: number
  priorityClass: PriorityClass
  /** Days that a stored response is kept. */
  responseDays: number
  /** Whether the tenant agreed to less effort under load. */
  lowersEffort: boolean
  ratesLeft: RatesLeft
}

export type ReadmitRequest = ReadmitOrder

/** The result of `takeRates`. */
export interface RatesTaken {
  ok: true
  ratesLeft: RatesLeft
}

export interface TenantSummary {
  tenantId: string
  name: string
  creditNano: number
  postedNano: number
  reservedNano: number
  openReservations: number
  /** Null unless requested. */
  totals: SqlRow | null
  status: ShownStatus
  deletedAt: number | null
  purgeAt: number | null
  createdAt: number
  limits: Limits
  settings: TenantSettings
}

/** The tenant's row in the list of tenants. */
export interface TenantListing {
  name: string
  status: TenantStatus
  createdAt: number
}

/** Recipient of a tenant's usage events, and the names that they carry. */
export interface WebhookTarget {
  url: string
  eventName: string
  customerId: string
}

export interface MeterView extends WebhookTarget {
  secretVersion: number
  /** Ledger entries that are not acknowledged yet, including those that bill nothing. */
  entriesBehind: number
  /** Ledger entries that were pruned before they were sent. */
  entriesLost: number
  attempts: number
  nextAt: number | null
  lastFault: string | null
}
