/**
 * API keys: `tm_<live|test>_<tenantId>_<keyId>_<secret><mac>`.
 *
 * The MAC covers everything before it, under the edge's key. So the edge refuses a forged or mistyped key without a
 * call to a tenant object. The tenant object stores only the SHA-256 of the secret.
 */
import { constantTimeEqual, Secret, sha256Hex } from './secret.ts'

export interface ApiKey {
  tenantId: string
  keyId: string
  /** Hex SHA-256 of the secret part, which the tenant object compares. */
  secretHash: string
  /** IP address of the client that presents the key. Without one, a key with an allow-list is refused. */
  address?: string | null
}

export type KeyMode = 'live' | 'test'

export const idPattern = /^[a-z0-9]{4,24}$/
const keyPattern = /^(tm_(?:live|test)_([a-z0-9]{4,24})_([a-z0-9]{4,24})_([a-z2-7]{32}))([a-z2-7]{16})$/
const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/** Creates a key. `random` supplies the secret's 20 bytes. The full key is shown once and never stored. */
export async function newApiKey(
  mode: KeyMode,
  tenantId: string,
  keyId: string,
  random: Uint8Array,
  macKey: CryptoKey,
): Promise<{ key: Secret; prefix: string; secretHash: string }> {
  const secret = base32(random.subarray(0, 20))
  const body = `tm_${mode}_${tenantId}_${keyId}_${secret}`
  const key = new Secret(body + (await keyMac(body, macKey)))
  return { key, prefix: `tm_${mode}_${tenantId}_${keyId}_${secret.slice(0, 4)}`, secretHash: await sha256Hex(secret) }
}

/** The key's parts, or undefined when this edge did not create it. No I/O. */
export async function readApiKey(text: string, macKey: CryptoKey): Promise<ApiKey | undefined> {
  const match = keyPattern.exec(text)
  if (!match?.[1] || !match[2] || !match[3] || !match[4] || !match[5]) return undefined
  if (!constantTimeEqual(await keyMac(match[1], macKey), match[5])) return undefined
  return { tenantId: match[2], keyId: match[3], secretHash: await sha256Hex(match[4]) }
}

/** The key of a request: `authorization: Bearer …`, `x-api-key`, or `api-key` as Azure's clients send it. */
export function presentedKey(headers: Headers): string | undefined {
  const bearer = /^bearer\s+(\S+)$/i.exec(headers.get('authorization') ?? '')?.[1]
  return bearer ?? headers.get('x-api-key') ?? headers.get('api-key') ?? undefined
}

/** The first ten bytes of an HMAC over `body`, in base32. */
export async function keyMac(body: string, key: CryptoKey): Promise<string> {
  const bytes = new Uint8Array(await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(body)))
  return base32(bytes.subarray(0, 10))
}

/** RFC 4648 base32 in lower case, for whole multiples of five bytes. */
export function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += alphabet[(value >> bits) & 31]
      value &= (1 << bits) - 1
    }
  }
  return text
}
