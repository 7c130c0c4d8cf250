/** Loads and stores responses for chat requests. */
import { budgets } from '../../backends/model/budgets.ts'
import type { ApiKey } from '../auth/api-key.ts'
import { noPreviousTurns, type PreviousTurns, type Reference, type StoredResponse } from '../dialects/dialect.ts'
import { GatewayError, logError } from '../http/errors.ts'
import { type ResponsesBinding, responsesStub } from './stub.ts'

/** The request on whose behalf stored responses are read and written. */
export interface ResponsesCall {
  env: ResponsesBinding
  requestId: string
  waitUntil: (work: Promise<unknown>) => void
}

const dayMs = 86_400_000

/** Loads the turns and items that the client refers to. The caller has checked the key. */
export async function previousResponse(
  context: ResponsesCall,
  key: ApiKey,
  reference: Reference | undefined,
): Promise<PreviousTurns> {
  if (!reference) return noPreviousTurns
  const { previousId } = reference
  const itemIds = [...new Set(reference.itemIds)]
  const { value: itemsMax } = budgets.recalledItems
  if (itemIds.length > itemsMax) {
    const message = `input: refers to more than ${itemsMax} stored items. Use previous_response_id, or send the items.`
    throw new GatewayError('invalid_value', message, { param: 'input' })
  }
  const { turns, items } = await responsesStub(context.env, key.tenantId).previousResponse(previousId, itemIds)
  return {
    turns: turns === undefined ? undefined : (JSON.parse(turns) as PreviousTurns['turns']),
    items: new Map(JSON.parse(items) as [string, unknown][]),
  }
}

/**
 * Stores an answer for the tenant's retention and returns whether it did. A failure does not affect the answer. If only
 * the result of the call was lost, the answer may be stored although its client reads otherwise: then it is deleted.
 */
export async function keepResponse(
  context: ResponsesCall,
  key: ApiKey,
  stored: StoredResponse,
  days: number,
): Promise<boolean> {
  if (days === 0) return false
  const stub = () => responsesStub(context.env, key.tenantId)
  try {
    // RPC accepts plain values only.
    const plain = JSON.parse(JSON.stringify(stored)) as StoredResponse
    return await stub().keep(plain, Date.now() + days * dayMs)
  } catch (error) {
    logError(`request ${context.requestId}: cannot store the response`, error)
    const forgotten = stub().forget(stored.responseId)
    context.waitUntil(
      forgotten.then(undefined, (again) => logError(`response ${stored.responseId} may be stored`, again)),
    )
    return false
  }
}
