import { app } from './app.ts'
import { crossOrigin } from './http/cors.ts'

export { FleetObject } from './fleet/fleet-object.ts'
export { ResponsesObject } from './responses/responses-object.ts'
export { TenantObject } from './tenant/tenant-object.ts'

export default { fetch: crossOrigin(app.fetch) }
