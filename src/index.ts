import { app } from './app.ts'
import type { Env } from './env.ts'
import { crossOrigin } from './http/cors.ts'
import { corsOrigins } from './tenant/cors-origins.ts'

export { AlertsObject } from './alerts/alerts-object.ts'
export { FleetObject } from './fleet/fleet-object.ts'
export { ResponsesObject } from './responses/responses-object.ts'
export { TenantObject } from './tenant/tenant-object.ts'

export default { fetch: crossOrigin<Env>(app.fetch, corsOrigins) }
