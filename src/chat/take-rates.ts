/** Takes from the rates of a key and its tenant for work that is not billed: counting, replays, refused bodies. */
import type { ApiKey } from '../auth/api-key.ts'
import type { AdmissionRefusal } from '../tenant/admission-refusals.ts'
import type { RatesLeft } from '../tenant/limits/rates-left.ts'
import type { RequestContext } from './context.ts'
import { refusal, tenantStub } from './reserve.ts'

interface RateTaker {
  takeRates(request: {
    keyId: string
    secretHash: string
    address: string | null
    requests: number
    tokens: number
  }): Promise<{ ok: true; ratesLeft: RatesLeft } | AdmissionRefusal>
}

/**
 * Takes one request and `tokens`. Like `reserve`, rejects if the key is no longer valid or a rate is exhausted.
 * @returns the remaining rates
 */
export async function takeRates(context: RequestContext, key: ApiKey, tokens: number): Promise<RatesLeft> {
  const { tenantId, keyId, secretHash, address = null } = key
  const stub = tenantStub(context, tenantId) as unknown as RateTaker
  const taken = await stub.takeRates({ keyId, secretHash, address, requests: 1, tokens })
  if (!taken.ok) throw refusal(taken, context)
  return taken.ratesLeft
}
