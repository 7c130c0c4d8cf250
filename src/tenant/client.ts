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

export function tenantStub(line: RequestContext, tenantId: string): DurableObjectStub<TenantObject> {
  return line.env.TENANT.getByName(tenantId)
}

export async function reserve(line: RequestContext, key: ApiKey, shaped: PreparedRequest): Promise<Admission> {
  const admitted = await tenantStub(line, key.tenantId).admit({
    requestId: line.requestId,
    keyId: key.keyId,
    secretHash: key.secretHash,
    model: shaped.model.id,
    promptTokens: shaped.promptTokens,
    outputTokens: shaped.outputTokens,
    unknownEffort: isMapped(shaped.effort) ? (shaped.effort.asked ?? null) : null,
  })
  if (!admitted.ok) throw refusal(admitted, line)
  return admitted
}

/**
 * Raises the reservation, once: to the exact count when a worker counted more than was reserved for, or to another rate
 * card when a hosted API is to answer. One that covers it already stays as it is.
 */
export async function reserveAgain(
  line: RequestContext,
  key: ApiKey,
  shaped: PreparedRequest,
  promptTokens: number,
  card = shaped.model.id,
): Promise<number> {
  const { requestId } = line
  const order = { requestId, model: card, promptTokens, outputTokens: shaped.outputTokens }
  const raised = await tenantStub(line, key.tenantId).readmit(order)
  if (!raised.ok) throw refusal(raised, line)
  return raised.boundNano
}

export function refusal(refused: AdmissionRefusal, line: RequestContext): GatewayError {
  const { effortField } = line.surface
  // The one field that a tenant's own settings may refuse, by the name that this client has for it.
  const wrong = refused.code === 'invalid_value'
  const message = wrong ? refused.message.replace(/^reasoning_effort/, effortField) : refused.message
  return new GatewayError(refused.code, message, {
    ...(wrong && { param: effortField }),
    retryAfterMs: refused.retryAfterMs,
    headers: [...rateHeaders(refused.rates), ...line.surface.rateHeaders(refused.rates, line.startedAt)],
  })
}
