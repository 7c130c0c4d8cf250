/** The binding of the objects that store responses: one per tenant. */
import type { ResponsesObject } from './responses-object.ts'

export interface ResponsesBinding {
  RESPONSES: DurableObjectNamespace<ResponsesObject>
}

export function responsesStub(env: ResponsesBinding, tenantId: string): DurableObjectStub<ResponsesObject> {
  return env.RESPONSES.getByName(tenantId)
}
