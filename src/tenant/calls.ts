/** What the tenant object's calls take and give. */
import type { Rates } from '../../backends/protocol/money.ts'
import type { Limits } from '../limits/holder.ts'
import type { RatesLeft } from './admission.ts'
import type { Role, Row, TenantSettings } from './store.ts'

export interface NewTenant {
  tenantId: string
  name: string
  creditNano: number
  models: string[]
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
  limits: Limits
  expiresAt: number | null
}

export interface Admission {
  ok: true
  rates: Rates
  boundNano: number
  outputTokensMax: number
  ratesLeft: RatesLeft
}

export interface TenantSummary {
  tenantId: string
  name: string
  creditNano: number
  postedNano: number
  reservedNano: number
  openReservations: number
  totals: Row
}
