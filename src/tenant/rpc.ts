/** What the tenant object's calls take and give. */
import type { Rates } from '../../backends/model/money.ts'
import type { PriorityClass } from '../fleet/queue/fair-queue.ts'
import type { RatesLeft } from './admission.ts'
import type { Limits } from './limits/limits.ts'
import type { SqlRow } from './rows.ts'
import type { Role, TenantSettings, TenantStatus } from './store.ts'

export interface NewTenant {
  tenantId: string
  name: string
  creditNano: number
  /** The models it may ask from the start, at the list price where no rate card is given. */
  models: string[]
  rateCards?: { model: string; effectiveAt: number; rates: Rates }[]
  limits: Limits
  settings: TenantSettings
}

export interface NewKey {
  keyId: string
  name: string
  prefix: string
  secretHash: string
  role: Role
  models: string[] | null
  class: 'batch' | null
  limits: Limits
  expiresAt: number | null
}

export interface Admission {
  ok: true
  rates: Rates
  /** What a hosted API's answer costs; null where this tenant wants none, or has no card for it. */
  hostedRates: Rates | null
  boundNano: number
  outputTokensMax: number
  /** See the dispatch. */
  settleFirst: boolean
  /** From the tenant's plan and the key: how the request is queued. */
  weight: number
  priorityClass: PriorityClass
  /** How long an answer of Responses may be kept. */
  responseDays: number
  /** The tenant agreed to less effort under load. */
  lowersEffort: boolean
  ratesLeft: RatesLeft
}

/** Answered by `takeRates`. */
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
  /** Null unless they were asked for. */
  totals: SqlRow | null
  status: TenantStatus
  createdAt: number
  limits: Limits
  settings: TenantSettings
}

export interface MeterView {
  url: string
  eventName: string
  customerId: string
  secretVersion: number
  /** Entries of the ledger that are not yet acknowledged, those that bill nothing included. */
  entriesBehind: number
  /** Entries that were pruned before they could be sent. */
  entriesLost: number
  attempts: number
  nextAt: number | null
  lastFault: string | null
}
