/**
 * Fetches a client's URL without letting the client reach into the operator's network.
 *
 * A host name is resolved once. Every address must be public, and the connection goes to exactly these addresses, so a
 * name that resolves differently after the check gains nothing. Each redirect is checked the same way. Only https on
 * port 443, no credentials, no cookies, no proxy, no compression (so the byte limit holds), and one deadline for the
 * whole fetch.
 */
import { lookup } from 'node:dns/promises'
import { get as getPlain, type IncomingMessage, type RequestOptions } from 'node:http'
import { get as getSecure } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { isPublicAddress } from './address.ts'

export interface FetchPolicy {
  /** Allowed protocols, each with its only port. */
  ports: Readonly<Record<string, number | 'any'>>
  allowed: (address: string) => boolean
  resolve: (hostname: string) => Promise<{ address: string; family: number }[]>
}

export const publicPolicy: FetchPolicy = {
  ports: { 'https:': 443 },
  allowed: isPublicAddress,
  resolve: (hostname) => lookup(hostname, { all: true }),
}

export interface FetchBounds {
  bytesMax: number
  timeoutMs: number
  /** Value of the `accept` header. */
  accept: string
}

export type Fetched = { ok: true; bytes: Uint8Array<ArrayBuffer> } | { ok: false; message: string }

const redirectsMax = 3
/** More than any file server needs. */
const headerBytesMax = 16 * 1024

/** A refusal is one sentence that reveals nothing about the network. Rejects only when `signal` aborts. */
export async function fetchGuarded(
  address: string,
  bounds: FetchBounds,
  signal: AbortSignal,
  policy: FetchPolicy = publicPolicy,
): Promise<Fetched> {
  const late = AbortSignal.timeout(bounds.timeoutMs)
  const either = AbortSignal.any([signal, late])
  try {
    return await hop(new URL(address), 0, bounds, either, policy)
  } catch (error) {
    if (signal.aborted) throw signal.reason
    if (late.aborted) return refuse(`its host did not send all of it within ${bounds.timeoutMs / 1_000} seconds`)
    if (error instanceof FetchRefusal) return refuse(error.message)
    return refuse('its host cannot be reached')
  }
}

class FetchRefusal extends Error {}

async function hop(
  url: URL,
  redirects: number,
  bounds: FetchBounds,
  signal: AbortSignal,
  policy: FetchPolicy,
): Promise<Fetched> {
  checkUrl(url, policy)
  const addresses = await pin(url, policy, signal)
  const response = await open(url, addresses, bounds, signal)
  try {
    const status = response.statusCode ?? 0
    const { location } = response.headers
    if (status >= 300 && status < 400 && location !== undefined) {
      if (redirects === redirectsMax) throw new FetchRefusal(`it redirects more than ${redirectsMax} times`)
      if (!URL.canParse(location, url)) throw new FetchRefusal('it redirects to an invalid URL')
      return await hop(new URL(location, url), redirects + 1, bounds, signal, policy)
    }
    if (status !== 200) throw new FetchRefusal(`its host returned status ${status}`)
    return { ok: true, bytes: await readAll(response, bounds.bytesMax) }
  } finally {
    response.destroy()
  }
}

function checkUrl(url: URL, { ports }: FetchPolicy): void {
  const port = ports[url.protocol]
  if (port === undefined) throw new FetchRefusal('only https URLs are allowed')
  if (url.username !== '' || url.password !== '')
    throw new FetchRefusal('a URL with a user name or password is not allowed')
  if (port !== 'any' && url.port !== '' && url.port !== String(port)) throw new FetchRefusal('only port 443 is allowed')
}

/** Returns the addresses to connect to, all checked. */
async function pin(url: URL, policy: FetchPolicy, signal: AbortSignal) {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const family = isIP(host)
  const addresses = family > 0 ? [{ address: host, family }] : await orAbort(policy.resolve(host), signal)
  if (addresses.length === 0 || !addresses.every(({ address }) => policy.allowed(address)))
    throw new FetchRefusal('its host is not on the public internet')
  return addresses
}

/** A name lookup cannot be cancelled, so an abort does not wait for its end. */
async function orAbort<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  try {
    signal.throwIfAborted()
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
    aborted.promise.catch(() => undefined)
    work.catch(() => undefined)
  }
}

function open(
  url: URL,
  addresses: { address: string; family: number }[],
  { accept }: FetchBounds,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const pinned: LookupFunction = (_, options, done) => {
    const [first] = addresses
    if (options.all) done(null, addresses)
    else done(null, first?.address ?? '', first?.family ?? 4)
  }
  const options: RequestOptions = {
    agent: false,
    lookup: pinned,
    signal,
    maxHeaderSize: headerBytesMax,
    headers: { accept, 'accept-encoding': 'identity', 'user-agent': 'tramontane' },
  }
  const get = url.protocol === 'http:' ? getPlain : getSecure
  return new Promise((resolve, reject) => {
    get(url, options, resolve).on('error', reject)
  })
}

async function readAll(response: IncomingMessage, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoding = response.headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity')
    throw new FetchRefusal('its host sends it compressed, which is not supported')
  const tooLarge = `it is larger than ${bytesMax} bytes`
  if (Number(response.headers['content-length'] ?? 0) > bytesMax) throw new FetchRefusal(tooLarge)
  const parts: Buffer[] = []
  let length = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length
    if (length > bytesMax) throw new FetchRefusal(tooLarge)
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}

function refuse(message: string): Fetched {
  return { ok: false, message }
}
