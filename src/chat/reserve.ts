/** Admission over RPC: one call to the tenant object checks key, limits and money, all or nothing. */
import { isMapped } from '../../backends/model/effort.ts'
import type { ApiKey } from '../auth/api-key.ts'
import { GatewayError } from '../http/errors.ts'
import type { AdmissionRefusal } from '../tenant/admission-refusals.ts'
import type { Admission, ReadmitRequest } from '../tenant/rpc.ts'
import type { TenantObject } from '../tenant/tenant-object.ts'
import type { UsageLabels } from '../tenant/usage/labels.ts'
import type { RequestContext } from './context.ts'
import { rateHeaders } from './headers.ts'
import type { PreparedRequest } from './prepare.ts'

export function tenantStub(context: RequestContext, tenantId: string): DurableObjectStub<TenantObject> {
  return context.env.TENANT.getByName(tenantId)
}

export async function reserve(
  context: RequestContext,
  key: ApiKey,
  prepared: PreparedRequest,
  labels: UsageLabels,
): Promise<Admission> {
  const admitted = await tenantStub(context, key.tenantId).admit({
    requestId: context.requestId,
    keyId: key.keyId,
    secretHash: key.secretHash,
    address: key.address ?? null,
    model: prepared.model.id,
    promptTokens: prepared.promptTokens,
    outputTokens: prepared.outputTokens,
    mayShorten: prepared.chat.outputTokensMax === undefined,
    unknownEffort: isMapped(prepared.effort) ? (prepared.effort.asked ?? null) : null,
    labels,
  })
  if (!admitted.ok) throw refusal(admitted, context)
  return admitted
}

/**
 * Raises the reservation, once: to the exact prompt count if a worker counted more than the estimate, or to another
 * rate card if a hosted API will answer. A sufficient reservation stays unchanged.
 */
export async function reserveMore(
  context: RequestContext,
  key: ApiKey,
  order: Omit<ReadmitRequest, 'requestId'>,
): Promise<number> {
  const raised = await tenantStub(context, key.tenantId).readmit({ requestId: context.requestId, ...order })
  if (!raised.ok) throw refusal(raised, context)
  return raised.boundNano
}

export function refusal(refused: AdmissionRefusal, context: RequestContext): GatewayError {
  const param = refused.field === 'effort' ? context.dialect.effortField : null
  return new GatewayError(refused.code, param ? `${param}: ${refused.message}` : refused.message, {
    param,
    retryAfterMs: refused.retryAfterMs,
    headers: [...rateHeaders(refused.rates), ...context.dialect.rateHeaders(refused.rates, context.startedAt)],
  })
}
