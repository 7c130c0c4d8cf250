/**
 * The proof of a dispatch: a MAC over every field that its receipt must match, under a key that only the edge has. The
 * worker's key signs the receipt and so proves its sender; the proof shows what the edge dispatched, and to whom. So a
 * dishonest worker can settle only the dispatches that it received.
 *
 * Synchronous and native, like the ledger's hash, because the simulation uses it too.
 */
import { createHmac } from 'node:crypto'
import type { ProvenDispatch } from '../../backends/wire/dispatch.ts'
import { constantTimeEqual, type Secret } from './secret.ts'

/** Worker keys are derived from the same secret under names that begin with "worker:". */
const purpose = 'dispatch-proof:1'

type Covered = Omit<ProvenDispatch, 'proof'>

const keys = new WeakMap<Secret, Uint8Array>()

/** 43 characters of base64url. */
export function proofOf(fleet: Secret, dispatch: Covered): string {
  return createHmac('sha256', keyOf(fleet)).update(provenText(dispatch)).digest('base64url')
}

/**
 * Whether the edge sent this dispatch to this worker, for this tenant and request, on these terms.
 * @param secrets the fleet secrets whose proofs are accepted
 */
export function isProven(secrets: readonly Secret[], dispatch: ProvenDispatch): boolean {
  return secrets.some((fleet) => constantTimeEqual(dispatch.proof, proofOf(fleet, dispatch)))
}

/** A JSON array, so that no two dispatches have the same text. */
function provenText(dispatch: Covered): string {
  const { requestId, dispatchId, workerId, tenantId, keyId, model, pool, effort, rates } = dispatch
  const { costNanoMax, promptTokensMax, outputTokensMax, issuedAt } = dispatch
  return JSON.stringify([
    ...[requestId, dispatchId, workerId, tenantId, keyId, model, pool, effort],
    ...[rates.inputNano, rates.cachedNano, rates.outputNano],
    ...[costNanoMax, promptTokensMax, outputTokensMax, issuedAt],
  ])
}

function keyOf(fleet: Secret): Uint8Array {
  const known = keys.get(fleet)
  if (known) return known
  const key = createHmac('sha256', fleet.reveal()).update(purpose).digest()
  keys.set(fleet, key)
  return key
}
