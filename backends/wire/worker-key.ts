/**
 * A worker's credential, which the operator sets in the worker's environment: `tw_<workerId>_<epoch>_<secret>`.
 * The secret is 32 bytes in base64url. A new epoch rotates it; the edge derives the secret from its own.
 */
import { base64url } from 'jose'

export interface WorkerKey {
  workerId: string
  epoch: number
  secret: Uint8Array<ArrayBuffer>
}

export const workerIdPattern = /^[a-z0-9-]{1,40}$/

export function formatWorkerKey({ workerId, epoch, secret }: WorkerKey): string {
  return `tw_${workerId}_${epoch}_${base64url.encode(secret)}`
}

export function parseWorkerKey(text: string): WorkerKey | undefined {
  const match = /^tw_([a-z0-9-]{1,40})_(\d{1,6})_([A-Za-z0-9_-]{43})$/.exec(text)
  if (!match?.[1] || !match[2] || !match[3]) return undefined
  return {
    workerId: match[1],
    epoch: Number(match[2]),
    secret: new Uint8Array(base64url.decode(match[3])),
  }
}

/** The `kid` of all messages that are sealed by or for this worker. */
export function keyIdOf(key: { workerId: string; epoch: number }): string {
  return `${key.workerId}.${key.epoch}`
}

export function parseKeyId(kid: string): { workerId: string; epoch: number } | undefined {
  const match = /^([a-z0-9-]{1,40})\.(\d{1,6})$/.exec(kid)
  return match?.[1] && match[2] ? { workerId: match[1], epoch: Number(match[2]) } : undefined
}
