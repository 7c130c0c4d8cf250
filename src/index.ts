import { app } from './app.ts'
import { crossOrigin } from './cross-origin.ts'

export { AnswersObject } from './answers/answers-object.ts'
export { PoolObject } from './routing/pool-object.ts'
export { TenantObject } from './tenant/tenant-object.ts'

export default { fetch: crossOrigin(app.fetch) }
