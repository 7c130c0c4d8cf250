import { app } from './app.ts'

export { PoolObject } from './routing/pool-object.ts'
export { TenantObject } from './tenant/tenant-object.ts'

export default app
