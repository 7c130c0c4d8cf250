/**
 * Messages between the edge and its workers are compact JWS (RFC 7515, HS256). The edge signs dispatches, and a worker
 * signs heartbeats and receipts, with one key per worker. The `typ` header is the message kind, so that no kind passes
 * for another. `kid` is the worker and the epoch of its key.
 */
import { base64url, compactVerify, decodeProtectedHeader } from 'jose'
import type { z } from 'zod'
import { isSpoken, numbered, protocolVersion, versionOf } from './protocol.ts'

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
 *
 * @param version the version that the receiver reads; see protocol.ts
 */
export async function seal(
  kind: Seal,
  claims: object,
  kid: string,
  key: CryptoKey,
  version = protocolVersion,
): Promise<string> {
  const signed = `${encodeJson({ alg: 'HS256', typ: kind, kid })}.${encodeJson(numbered(claims, version))}`
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

export type Unsealed<Claims> =
  | { kind: 'read'; claims: Claims }
  /** Correctly signed, in a version that is not read here. */
  | { kind: 'unspoken'; version: number }
  /** The signature, the kind or the schema does not match. */
  | { kind: 'invalid' }

export async function unseal<Schema extends z.ZodType>(
  kind: Seal,
  token: string,
  key: CryptoKey,
  schema: Schema,
): Promise<Unsealed<z.infer<Schema>>> {
  try {
    const { payload, protectedHeader } = await compactVerify(token, key, { algorithms: ['HS256'] })
    if (protectedHeader.typ !== kind) return { kind: 'invalid' }
    const claims: unknown = JSON.parse(decoder.decode(payload))
    const version = versionOf(claims)
    if (version === undefined) return { kind: 'invalid' }
    if (!isSpoken(version)) return { kind: 'unspoken', version }
    const parsed = schema.safeParse(claims)
    return parsed.success ? { kind: 'read', claims: parsed.data } : { kind: 'invalid' }
  } catch {
    return { kind: 'invalid' }
  }
}

/** SHA-256 in base64url, by which a dispatch binds its body. */
export async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
}
