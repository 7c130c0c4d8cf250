/** One call to the tenant object: key, limits, money, all or nothing. */
import { isMapped } from '../../backends/model/effort.ts'
import type { ApiKey } from '../auth/api-key.ts'
import type { RequestContext } from '../chat/context.ts'
import { rateHeaders } from '../chat/headers.ts'
import type { PreparedRequest } from '../chat/prepare.ts'
import { GatewayError } from '../http/errors.ts'
import type { AdmissionRefusal } from './admission.ts'
import type { Admission } from './rpc.ts'
import type { TenantObject } from './tenant-object.ts'

export function tenantStub(context: RequestContext, tenantId: string): DurableObjectStub<TenantObject> {
  return context.env.TENANT.getByName(tenantId)
}

export async function reserve(context: RequestContext, key: ApiKey, prepared: PreparedRequest): Promise<Admission> {
  const admitted = await tenantStub(context, key.tenantId).admit({
    requestId: context.requestId,
    keyId: key.keyId,
    secretHash: key.secretHash,
    model: prepared.model.id,
    promptTokens: prepared.promptTokens,
    outputTokens: prepared.outputTokens,
    unknownEffort: isMapped(prepared.effort) ? (prepared.effort.asked ?? null) : null,
  })
  if (!admitted.ok) throw refusal(admitted, context)
  return admitted
}

/**
 * Raises the reservation, once: to the exact count when a worker counted more than was reserved for, or to another rate
 * card when a hosted API is to answer. One that covers it already stays as it is.
 */
export async function reserveMore(
  context: RequestContext,
  key: ApiKey,
  prepared: PreparedRequest,
  promptTokens: number,
  card = prepared.model.id,
): Promise<number> {
  const { requestId } = context
  const order = { requestId, model: card, promptTokens, outputTokens: prepared.outputTokens }
  const raised = await tenantStub(context, key.tenantId).readmit(order)
  if (!raised.ok) throw refusal(raised, context)
  return raised.boundNano
}

export function refusal(refused: AdmissionRefusal, context: RequestContext): GatewayError {
  const { effortField } = context.dialect
  // The one field that a tenant's own settings may refuse, by the name that this client has for it.
  const wrong = refused.code === 'invalid_value'
  const message = wrong ? refused.message.replace(/^reasoning_effort/, effortField) : refused.message
  return new GatewayError(refused.code, message, {
    ...(wrong && { param: effortField }),
    retryAfterMs: refused.retryAfterMs,
    headers: [...rateHeaders(refused.rates), ...context.dialect.rateHeaders(refused.rates, context.startedAt)],
  })
}
