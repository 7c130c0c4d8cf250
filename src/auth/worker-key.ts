/**
 * Worker keys are derived from one fleet secret, so the edge verifies any worker's message without a look-up:
 * secret(worker, epoch) = HMAC-SHA256(fleet secret, "worker:<workerId>:<epoch>").
 */
import type { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { type Seal, seal, sealedBy, sealKey, unseal } from '../../backends/wire/seal.ts'
import { formatWorkerKey, keyIdOf, parseKeyId } from '../../backends/wire/worker-key.ts'
import { findFleetSecret, secretIdOf } from './fleet-secret.ts'
import type { Secret } from './secret.ts'

/** By fleet secret and key id, the least recently used first. */
const cached = new Map<string, CryptoKey>()

/**
 * The key that seals messages to this worker. The caller takes the id from the fleet's registry, which contains only
 * workers with a verified heartbeat.
 */
export async function workerSealKey(fleet: Secret, workerId: string, epoch: number): Promise<CryptoKey> {
  const name = `${await secretIdOf(fleet)}.${workerId}.${epoch}`
  const known = cachedKey(name)
  if (known) return known
  const key = await sealKey(await workerSecret(fleet, workerId, epoch))
  remember(name, key)
  return key
}

interface SealedTo {
  workerId: string
  keyEpoch: number
  /** The fleet secret from which the worker's key is derived; the current one if it is absent. */
  secretId?: string | undefined
  protocol: number
}

/**
 * Signs a message to a worker with the worker's key, in the worker's version of the protocol.
 * @param secrets the fleet secrets, the current one first
 */
export async function sealFor(secrets: readonly Secret[], to: SealedTo, kind: Seal, claims: object): Promise<string> {
  const { workerId, keyEpoch, secretId, protocol } = to
  const key = await workerSealKey(await findFleetSecret(secrets, secretId), workerId, keyEpoch)
  return seal(kind, claims, keyIdOf({ workerId, epoch: keyEpoch }), key, protocol)
}

interface SpeakingWorker {
  workerId: string
  epoch: number
  /** The fleet secret from which the worker's key is derived. */
  secretId: string
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
 * one call derives at most one key per fleet secret, stops at the first bad token, and caches only a key that verified
 * all tokens.
 * @param secrets the fleet secrets, the current one first
 */
export async function openWorkerWord<Schema extends z.ZodType>(
  kind: Seal,
  tokens: readonly string[],
  secrets: readonly Secret[],
  schema: Schema,
): Promise<WorkerWord<z.infer<Schema>> | undefined> {
  const [kid] = tokens.map(sealedBy)
  const named = parseKeyId(kid ?? '')
  if (!named || !tokens.every((token) => sealedBy(token) === kid)) return undefined
  for (const fleet of secrets) {
    const word = await openWith(fleet, { ...named, secretId: await secretIdOf(fleet) }, kind, tokens, schema)
    if (word) return word
  }
  return undefined
}

async function openWith<Schema extends z.ZodType>(
  fleet: Secret,
  by: SpeakingWorker,
  kind: Seal,
  tokens: readonly string[],
  schema: Schema,
): Promise<WorkerWord<z.infer<Schema>> | undefined> {
  const name = `${by.secretId}.${by.workerId}.${by.epoch}`
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
