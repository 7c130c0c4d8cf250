/**
 * Worker keys are derived from one fleet secret, so the edge verifies any worker's message without a look-up:
 * secret(worker, epoch) = HMAC-SHA256(fleet secret, "worker:<workerId>:<epoch>").
 */
import type { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { type Seal, seal, sealedBy, sealKey, unseal } from '../../backends/wire/seal.ts'
import { formatWorkerKey, keyIdOf, parseKeyId } from '../../backends/wire/worker-key.ts'
import type { Secret } from './secret.ts'

/** By key id, the least recently used first. */
const cached = new Map<string, CryptoKey>()

/**
 * The key that seals messages to this worker. The caller takes the id from the fleet's registry, which contains only
 * workers with a verified heartbeat.
 */
export async function workerSealKey(fleet: Secret, workerId: string, epoch: number): Promise<CryptoKey> {
  const known = cachedKey(`${workerId}.${epoch}`)
  if (known) return known
  const key = await sealKey(await workerSecret(fleet, workerId, epoch))
  remember(`${workerId}.${epoch}`, key)
  return key
}

/** Signs a message to a worker with the worker's key, in the worker's version of the protocol. */
export async function sealFor(
  fleet: Secret,
  to: { workerId: string; keyEpoch: number; protocol: number },
  kind: Seal,
  claims: object,
): Promise<string> {
  const { workerId, keyEpoch, protocol } = to
  const key = await workerSealKey(fleet, workerId, keyEpoch)
  return seal(kind, claims, keyIdOf({ workerId, epoch: keyEpoch }), key, protocol)
}

interface SpeakingWorker {
  workerId: string
  epoch: number
}
export type WorkerWord<Claims> = SpeakingWorker &
  /** In the order of the tokens. */
  (
    | { kind: 'read'; claims: Claims[] }
    /** A token is in a version that this edge does not read. */
    | { kind: 'unspoken'; version: number }
  )

/**
 * Opens tokens that one worker sealed with one key; undefined when any token fails. Safe for unauthenticated callers:
 * one call derives at most one key, stops at the first bad token, and caches only a key that verified all tokens.
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
  const known = cachedKey(name)
  const key = known ?? (await sealKey(await workerSecret(fleet, by.workerId, by.epoch)))
  const claims: z.infer<Schema>[] = []
  for (const token of tokens) {
    const opened = await unseal(kind, token, key, schema)
    if (opened.kind === 'invalid') return undefined
    if (opened.kind === 'unspoken') return { ...by, ...opened }
    claims.push(opened.claims)
  }
  if (!known) remember(name, key)
  return { ...by, kind: 'read', claims }
}

function cachedKey(name: string): CryptoKey | undefined {
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

/** The value of TRAMONTANE_WORKER_KEY, which the operator sets in the worker's environment. */
export async function newWorkerKey(fleet: Secret, workerId: string, epoch: number): Promise<string> {
  return formatWorkerKey({ workerId, epoch, secret: await workerSecret(fleet, workerId, epoch) })
}

async function workerSecret(fleet: Secret, workerId: string, epoch: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder()
  const key = await sealKey(new Uint8Array(encoder.encode(fleet.reveal())))
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, encoder.encode(`worker:${workerId}:${epoch}`)))
}
