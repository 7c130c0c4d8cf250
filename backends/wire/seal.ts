/**
 * Messages between the edge and its workers are compact JWS (RFC 7515, HS256): the edge signs dispatches, a worker
 * signs heartbeats and receipts, each pair with a key of its own. The `typ` header names the kind, so that one kind can
 * never be taken for another; `kid` names the worker and its key's epoch.
 */
import { base64url, compactVerify, decodeProtectedHeader } from 'jose'
import type { z } from 'zod'

export type Seal = 'dispatch' | 'heartbeat' | 'receipt' | 'inquiry' | 'count' | 'media'

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** HMAC keys are imported once and kept: importing costs more than signing. */
export async function sealKey(secret: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify'])
}

/**
 * Written out and not left to a library, as RFC 7515 §5.1 has it: every request is signed once, and this costs half. What
 * comes in is verified by the library.
 */
export async function seal(kind: Seal, claims: unknown, kid: string, key: CryptoKey): Promise<string> {
  const signed = `${encodeJson({ alg: 'HS256', typ: kind, kid })}.${encodeJson(claims)}`
  const mac = await crypto.subtle.sign('HMAC', key, encoder.encode(signed))
  return `${signed}.${base64url.encode(new Uint8Array(mac))}`
}

function encodeJson(value: unknown): string {
  return base64url.encode(encoder.encode(JSON.stringify(value)))
}

/** Who says to have sealed this; to be believed only after `unseal` with that worker's key. */
export function sealedBy(token: string): string | undefined {
  try {
    return decodeProtectedHeader(token).kid
  } catch {
    return undefined
  }
}

/** The claims, or undefined when the signature, the kind or the shape is wrong. */
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

/** SHA-256 in base64url: what a dispatch says of its body. */
export async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
}
