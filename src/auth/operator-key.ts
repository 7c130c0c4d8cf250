/**
 * Operator keys: `tmop_<keyId>_<secret><mac>`, with a MAC like API keys, so the edge refuses a forged key without a
 * look-up. The first operator key may have any form: its SHA-256 is a setting of the deployment.
 */
import { base32, keyMac } from './api-key.ts'
import { constantTimeEqual, Secret, sha256Hex } from './secret.ts'

/** Scopes of operator keys. A key with `operators:write` creates other keys, with its own scopes only. */
export const scopes = [
  'tenants:read',
  'tenants:write',
  'keys:write',
  'members:write',
  'plans:write',
  'rates:write',
  'money:write',
  'usage:read',
  'workers:read',
  'workers:write',
  'operators:write',
  'audit:read',
  'alerts:read',
  'alerts:write',
] as const
export type Scope = (typeof scopes)[number]

const pattern = /^(tmop_([a-z2-7]{16})_([a-z2-7]{32}))([a-z2-7]{16})$/

/**
 * Creates a key, or a new secret for the key with the id `known`. `random` supplies 30 bytes: 20 for the secret, 10 for
 * the id. Shown once and never stored.
 */
export async function newOperatorKey(random: Uint8Array, macKey: CryptoKey, known?: string) {
  const keyId = known ?? base32(random.subarray(20, 30))
  const secret = base32(random.subarray(0, 20))
  const body = `tmop_${keyId}_${secret}`
  const key = new Secret(body + (await keyMac(body, macKey)))
  return { key, keyId, prefix: `tmop_${keyId}_${secret.slice(0, 4)}`, secretHash: await sha256Hex(secret) }
}

export async function readOperatorKey(
  text: string,
  macKey: CryptoKey,
): Promise<{ keyId: string; secretHash: string } | undefined> {
  const match = pattern.exec(text)
  if (!match?.[1] || !match[2] || !match[3] || !match[4]) return undefined
  if (!constantTimeEqual(await keyMac(match[1], macKey), match[4])) return undefined
  return { keyId: match[2], secretHash: await sha256Hex(match[3]) }
}
