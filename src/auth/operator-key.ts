/**
 * Operators' keys: `tmop_<keyId>_<secret><mac>`, made and read as tenants' keys are, so that a forged one is refused
 * without a look-up. The first key, whose SHA-256 is a setting of the deployment, may have any form.
 */
import { base32, keyMac } from './api-key.ts'
import { constantTimeEqual, Secret, sha256Hex } from './secret.ts'

/** What an operator key may do. `operators:write` makes other keys, with scopes of its own only. */
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
] as const
export type Scope = (typeof scopes)[number]

const pattern = /^(tmop_([a-z2-7]{16})_([a-z2-7]{32}))([a-z2-7]{16})$/

/** A new key. `random` gives 30 bytes: the secret's 20, and 10 for the id. Shown once and kept nowhere. */
export async function newOperatorKey(random: Uint8Array, macKey: CryptoKey) {
  const keyId = base32(random.subarray(20, 30))
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
