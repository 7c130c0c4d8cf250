/**
 * Usage events: one per billed ledger entry, in the format of billing systems: an identifier for deduplication, an
 * event name, a time and a payload of strings. Entries are never edited, so an entry always gives the same event. A
 * receiver that stores identifiers counts each event once.
 */
import type { LedgerEntry } from '../ledger/ledger.ts'

export interface MeterEvent {
  /** The dispatch id; for a correction, the tenant id, the kind and the entry's number. */
  identifier: string
  event_name: string
  /** Unix seconds. */
  timestamp: number
  payload: Record<string, string>
}

/** Kinds of entries that are billed. Waste, voids and expiries cost nothing, and credit is not usage. */
const billed: readonly LedgerEntry['kind'][] = ['post', 'late', 'correction']

export interface MeteredRow {
  seq: number
  entry: LedgerEntry
  labels: {
    keyId: string | null
    model: string | null
    pool: string | null
    effort: string | null
    outcome: string | null
    note: string | null
  }
}

/** The event of a row, or undefined if the row bills nothing. */
export function meterEvent(
  row: MeteredRow,
  meter: { eventName: string; customerId: string },
  tenantId: string,
): MeterEvent | undefined {
  const { seq, entry, labels } = row
  if (!billed.includes(entry.kind)) return undefined
  const { counts } = entry
  const fields: Record<string, string | number | null | undefined> = {
    customer_id: meter.customerId,
    kind: entry.kind,
    request_id: entry.requestId,
    key_id: labels.keyId,
    model: labels.model,
    pool: labels.pool,
    effort: labels.effort,
    outcome: labels.outcome,
    prompt_tokens: counts?.promptTokens,
    cached_tokens: counts?.cachedTokens,
    output_tokens: counts?.outputTokens,
    reasoning_tokens: counts?.reasoningTokens,
    cost_nano: entry.costNano,
    estimated: entry.estimated ? 'true' : 'false',
    note: labels.note,
  }
  const known = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)
  return {
    identifier: entry.dispatchId ?? `${tenantId}.${entry.kind}.${seq}`,
    event_name: meter.eventName,
    timestamp: Math.floor(entry.at / 1_000),
    payload: Object.fromEntries(known.map(([name, value]) => [name, String(value)])),
  }
}

const firstRetryMs = 2_000
const retryMsMax = 3_600_000

/** Wait after the `attempts`-th failure in a row: 2 s, doubling up to one hour. */
export function meterRetryMs(attempts: number): number {
  return Math.min(retryMsMax, firstRetryMs * 2 ** Math.min(20, attempts - 1))
}

/** The keys from which secrets are derived, the current one first; an earlier one while KEY_SECRET is being rotated. */
export type MacKeys = () => Promise<readonly CryptoKey[]>

/** Secrets of one tenant and version, one for each key. They are derived, so none is stored; the first is shown once. */
export function meterSecrets(
  macKeys: readonly CryptoKey[],
  tenantId: string,
  version: number,
): Promise<Uint8Array<ArrayBuffer>[]> {
  return webhookSecrets(macKeys, `meter:${tenantId}:${version}`)
}

/** @param name unique to the endpoint and the version of its secret */
export function webhookSecrets(macKeys: readonly CryptoKey[], name: string): Promise<Uint8Array<ArrayBuffer>[]> {
  const bytes = new TextEncoder().encode(name)
  return Promise.all(macKeys.map(async (key) => new Uint8Array(await crypto.subtle.sign('HMAC', key, bytes))))
}

export function formatWebhookSecret(secret: Uint8Array): string {
  return `whsec_${toBase64(secret)}`
}

/** The three headers of Standard Webhooks, over the exact bytes of the body: one signature for each secret. */
export async function signedHeaders(
  secrets: readonly Uint8Array<ArrayBuffer>[],
  id: string,
  now: number,
  body: string,
): Promise<Record<string, string>> {
  const timestamp = String(Math.floor(now / 1_000))
  const signed = new TextEncoder().encode(`${id}.${timestamp}.${body}`)
  const signatures = secrets.map(async (secret) => {
    const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
    return `v1,${toBase64(new Uint8Array(await crypto.subtle.sign('HMAC', key, signed)))}`
  })
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': (await Promise.all(signatures)).join(' '),
  }
}

const retryAfterMsMax = 24 * 3_600_000

/** The wait that a `retry-after` header asks for, in milliseconds: at most one day, 0 if there is none. */
export function retryAfterMsOf(header: string | null, now: number): number {
  if (header === null) return 0
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now
  return Number.isFinite(ms) ? Math.min(retryAfterMsMax, Math.max(0, ms)) : 0
}

/** Names that only a private network resolves. */
const privateSuffixes =
  /(^|\.)(localhost|local|localdomain|internal|intranet|private|corp|home|lan|svc|cluster|test|invalid|onion|home\.arpa)$/
/** Public services that resolve a name to the private address that it contains. */
const addressSuffixes = /(^|\.)(nip\.io|sslip\.io|xip\.io|localtest\.me|lvh\.me|vcap\.me|traefik\.me)$/
const thisMachine = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

/**
 * Why `text` is not a valid webhook URL, or undefined if it is: https to a public host name, or http to 127.0.0.1 if
 * `loopback` is true. The network must block other names that resolve to private addresses; Cloudflare's does.
 */
export function webhookUrlFault(text: string, loopback: boolean): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url) return 'must be an absolute URL'
  if (url.username || url.password)
    return 'must not contain a user name or password. The signature authenticates the sender'
  if (url.hash) return 'must not contain a fragment'
  const hostname = url.hostname.replace(/\.$/, '')
  if (loopback && url.protocol === 'http:' && hostname === '127.0.0.1') return undefined
  if (thisMachine.test(hostname)) {
    const port = url.port === '' ? '' : `:${url.port}`
    return loopback ? `must reach this machine as http://127.0.0.1${port}` : 'must name a public host, not this machine'
  }
  if (url.protocol !== 'https:') return 'must be https'
  if (!/\.[a-z][a-z0-9-]*$/.test(hostname)) return 'must name a public host, not an address'
  if (privateSuffixes.test(hostname) || addressSuffixes.test(hostname))
    return 'must name a public host, not one of a private network'
  return undefined
}

function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
}
