/**
 * Messages between the edge and its workers are compact JWS (RFC 7515, HS256). The edge signs dispatches, and a worker
 * signs heartbeats and receipts, with one key per worker. The `typ` header is the message kind, so that no kind passes
 * for another. `kid` is the worker and the epoch of its key.
 */
import { base64url, compactVerify, decodeProtectedHeader } from 'jose'
import type { z } from 'zod'

export type Seal = 'dispatch' | 'heartbeat' | 'receipt' | 'inquiry' | 'count' | 'media'

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Callers import a key once and keep it: importing costs more than signing. */
export async function sealKey(secret: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify'])
}

/**
 * Implements RFC 7515 §5.1 by hand, because every request is signed and this takes half the time of the library. The
 * library verifies incoming messages.
 */
export async function seal(kind: Seal, claims: unknown, kid: string, key: CryptoKey): Promise<string> {
  const signed = `${encodeJson({ alg: 'HS256', typ: kind, kid })}.${encodeJson(claims)}`
  const mac = await crypto.subtle.sign('HMAC', key, encoder.encode(signed))
  return `${signed}.${base64url.encode(new Uint8Array(mac))}`
}

function encodeJson(value: unknown): string {
  return base64url.encode(encoder.encode(JSON.stringify(value)))
}

/** The claimed `kid` of a message. Trust it only after `unseal` with that worker's key. */
export function sealedBy(token: string): string | undefined {
  try {
    return decodeProtectedHeader(token).kid
  } catch {
    return undefined
  }
}

/** The claims; undefined if the signature, the kind or the schema does not match. */
export async function unseal<Schema extends z.ZodType>(
  kind: Seal,
  token: string,
  key: CryptoKey,
  schema: Schema,
): Promise<z.infer<Schema> | undefined> {
  try {
    const { payload, protectedHeader } = await compactVerify(token, key, { algorithms: ['HS256'] })
    if (protectedHeader.typ !== kind) return undefined
    const parsed = schema.safeParse(JSON.parse(decoder.decode(payload)))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

/** SHA-256 in base64url, by which a dispatch binds its body. */
export async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
}
