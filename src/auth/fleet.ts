/**
 * Workers' keys are derived from one fleet secret, so that the edge can check any worker's word without a look-up:
 * secret(worker, epoch) = HMAC-SHA256(fleet secret, "worker:<workerId>:<epoch>").
 */
import { sealKey } from '../../backends/protocol/seal.ts'
import { formatWorkerKey } from '../../backends/protocol/worker-key.ts'
import type { Secret } from './secret.ts'

const cached = new Map<string, Promise<CryptoKey>>()
const cachedMax = 1_024

/** The key that seals and unseals what passes between the edge and this worker. */
export function workerSealKey(fleet: Secret, workerId: string, epoch: number): Promise<CryptoKey> {
  const name = `${workerId}.${epoch}`
  const known = cached.get(name)
  if (known) return known
  if (cached.size >= cachedMax) cached.clear()
  const key = workerSecret(fleet, workerId, epoch).then(sealKey)
  cached.set(name, key)
  return key
}

/** What the operator puts into the worker's environment as TRAMONTANE_WORKER_KEY. */
export async function mintWorkerKey(fleet: Secret, workerId: string, epoch: number): Promise<string> {
  return formatWorkerKey({ workerId, epoch, secret: await workerSecret(fleet, workerId, epoch) })
}

async function workerSecret(fleet: Secret, workerId: string, epoch: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder()
  const key = await sealKey(new Uint8Array(encoder.encode(fleet.reveal())))
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, encoder.encode(`worker:${workerId}:${epoch}`)))
}
