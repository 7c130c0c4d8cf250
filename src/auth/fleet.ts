/**
 * Workers' keys are derived from one fleet secret, so that the edge can check any worker's word without a look-up:
 * secret(worker, epoch) = HMAC-SHA256(fleet secret, "worker:<workerId>:<epoch>").
 */
import type { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { type Seal, sealedBy, sealKey, unseal } from '../../backends/wire/seal.ts'
import { formatWorkerKey, parseKeyId } from '../../backends/wire/worker-key.ts'
import type { Secret } from './secret.ts'

/** By key id, the least recently used first. */
const cached = new Map<string, CryptoKey>()

/**
 * The key that seals what goes to this worker. The worker is known: its id is from the fleet's registry, and stands there
 * because a heartbeat of it was verified.
 */
export async function workerSealKey(fleet: Secret, workerId: string, epoch: number): Promise<CryptoKey> {
  const known = previousResponse(`${workerId}.${epoch}`)
  if (known) return known
  const key = await sealKey(await workerSecret(fleet, workerId, epoch))
  remember(`${workerId}.${epoch}`, key)
  return key
}

export interface WorkerWord<Claims> {
  workerId: string
  epoch: number
  /** In the order of the tokens. */
  claims: Claims[]
}

/**
 * What one worker sealed with one key, or undefined where anything is not. Anyone may call this: one call derives one
 * key at most, stops at the first token that is not sealed with it, and keeps no key that verified nothing.
 */
export async function openWorkerWord<Schema extends z.ZodType>(
  kind: Seal,
  tokens: readonly string[],
  fleet: Secret,
  schema: Schema,
): Promise<WorkerWord<z.infer<Schema>> | undefined> {
  const [kid] = tokens.map(sealedBy)
  const by = parseKeyId(kid ?? '')
  if (!by || !tokens.every((token) => sealedBy(token) === kid)) return undefined
  const name = `${by.workerId}.${by.epoch}`
  const known = previousResponse(name)
  const key = known ?? (await sealKey(await workerSecret(fleet, by.workerId, by.epoch)))
  const claims: z.infer<Schema>[] = []
  for (const token of tokens) {
    const each = await unseal(kind, token, key, schema)
    if (each === undefined) return undefined
    claims.push(each)
  }
  if (!known) remember(name, key)
  return { ...by, claims }
}

function previousResponse(name: string): CryptoKey | undefined {
  const key = cached.get(name)
  if (key) remember(name, key)
  return key
}

function remember(name: string, key: CryptoKey): void {
  cached.delete(name)
  cached.set(name, key)
  if (cached.size <= budgets.workerKeysKnown.value) return
  const [oldest] = cached.keys()
  if (oldest !== undefined) cached.delete(oldest)
}

/** What the operator puts into the worker's environment as TRAMONTANE_WORKER_KEY. */
export async function newWorkerKey(fleet: Secret, workerId: string, epoch: number): Promise<string> {
  return formatWorkerKey({ workerId, epoch, secret: await workerSecret(fleet, workerId, epoch) })
}

async function workerSecret(fleet: Secret, workerId: string, epoch: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder()
  const key = await sealKey(new Uint8Array(encoder.encode(fleet.reveal())))
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, encoder.encode(`worker:${workerId}:${epoch}`)))
}
