/** What the tenant object's calls take and give. */
import type { Rates } from '../../backends/protocol/money.ts'
import type { Row } from './store.ts'

export interface NewTenant {
  tenantId: string
  name: string
  creditNano: number
  models: string[]
  concurrentMax?: number
}

export interface NewKey {
  keyId: string
  name: string
  prefix: string
  secretHash: string
  requestsPerMinute: number
  expiresAt: number | null
}

export interface Admission {
  ok: true
  rates: Rates
  boundNano: number
  outputTokensMax: number
  effortUnknown: 'map' | 'reject'
  requestsPerMinute: number
  requestsLeft: number | null
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
