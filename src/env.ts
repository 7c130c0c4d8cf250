/** Everything that the Worker is bound to. Each part is declared where it is used. */
import type { AlertsBinding } from './alerts/stub.ts'
import type { ConfigVariables } from './config.ts'
import type { FleetBinding } from './fleet/client.ts'
import type { ResponsesBinding } from './responses/stub.ts'
import type { TenantBinding } from './tenant/stub.ts'

export interface Env extends ConfigVariables, FleetBinding, TenantBinding, ResponsesBinding, AlertsBinding {
  /** The operator's database. No inference request reads it. */
  DB: D1Database
}
