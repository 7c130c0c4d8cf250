/** The binding of the tenant objects. */

import { idPattern } from '../auth/api-key.ts'
import { GatewayError } from '../http/errors.ts'
import type { TenantResult } from './permissions.ts'
import type { TenantObject } from './tenant-object.ts'

export interface TenantBinding {
  TENANT: DurableObjectNamespace<TenantObject>
}
export function tenantStub(env: TenantBinding, tenantId: string): DurableObjectStub<TenantObject> {
  if (!idPattern.test(tenantId)) throw noSuchTenant()
  return env.TENANT.getByName(tenantId)
}

export function noSuchTenant(): GatewayError {
  return new GatewayError('not_found', 'Tenant not found. List tenants with GET /admin/tenants.', { param: 'tenantId' })
}

/** The value of a tenant's result. Throws its refusal as an error that the client sees. */
export function accept<Value>(answer: TenantResult<Value>): Value {
  if (answer.ok) return answer.value
  throw new GatewayError(answer.code, answer.message, { param: answer.param })
}
