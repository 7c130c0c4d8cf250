/**
 * The addresses that a worker may have. The edge sends tenants' prompts there, so an operator sets the address at
 * enrolment. Addresses of cloud metadata services are refused.
 *
 * An address is a scheme, a host, a port and an optional path. Only in an enrolment may the port be `*`.
 */
import ipaddr from 'ipaddr.js'

export interface WorkerAddress {
  /** `http:` or `https:`, and the host as the URL standard writes it. */
  origin: string
  /** Digits, or `*` for any port. */
  port: string
  /** Empty, or a path without a slash at its end. */
  path: string
}

export type ReadAddress = { ok: true; address: WorkerAddress } | { ok: false; message: string }

export const workerAddressCharactersMax = 512

/** @param ports `any-port` allows `*` as the port */
export function readWorkerAddress(text: string, ports: 'any-port' | 'one-port'): ReadAddress {
  const example = 'Use the address at which the edge reaches this worker, such as https://gpu-1.example.com:9000.'
  if (text.length > workerAddressCharactersMax)
    return refused(`is longer than ${workerAddressCharactersMax} characters. ${example}`)
  // The URL parser drops white space and turns a backslash into a slash, so such an address is misleading.
  if (/[^\x21-\x7e]|\\/.test(text)) return refused(`contains a character that is not allowed in an address. ${example}`)
  const anyPort = /^(https?:\/\/[^/?#@]+):\*(?=\/|$)/.exec(text)
  if (anyPort && ports === 'one-port') return refused('has * as its port. Set one port.')
  const plain = anyPort ? text.replace(':*', '') : text
  if (!URL.canParse(plain)) return refused(`is not an address. ${example}`)
  const url = new URL(plain)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return refused(`must begin with https://. ${example}`)
  if (url.username !== '' || url.password !== '') return refused('has a user name or a password. Remove both.')
  if (plain.includes('?') || plain.includes('#')) return refused('has a query or a fragment. Remove it.')
  const kind = kindOfHost(url.hostname)
  if (kind === 'never') {
    return refused(`must not be ${url.hostname}, a link-local, metadata or reserved address. ${example}`)
  }
  if (kind === 'public' && url.protocol === 'http:') {
    return refused(
      'uses http on a public host, which exposes prompts. Use https, or http with a private or loopback address.',
    )
  }
  const port = anyPort ? '*' : url.port || (url.protocol === 'https:' ? '443' : '80')
  return {
    ok: true,
    address: { origin: `${url.protocol}//${url.hostname}`, port, path: url.pathname.replace(/\/+$/, '') },
  }
}

export function formatWorkerAddress({ origin, port, path }: WorkerAddress): string {
  return `${origin}:${port}${path}`
}

export function addressAllows(enrolled: WorkerAddress, claimed: WorkerAddress): boolean {
  const samePort = enrolled.port === '*' || enrolled.port === claimed.port
  return enrolled.origin === claimed.origin && samePort && enrolled.path === claimed.path
}

/** Cloud metadata services, which return credentials. Some of them are in private or public ranges. */
const metadataRanges = [
  '168.63.129.16/32',
  '100.100.100.200/32',
  '192.0.0.192/32',
  'fd00:ec2::/32',
  'fd20:ce::/32',
].map((range) => ipaddr.parseCIDR(range))
const metadataNames = new Set([
  'metadata',
  'metadata.google.internal',
  'metadata.goog',
  'metadata.azure.internal',
  'metadata.tencentyun.com',
  'instance-data',
  'instance-data.ec2.internal',
])
const privateRanges: readonly string[] = ['loopback', 'private', 'uniqueLocal', 'carrierGradeNat']
/** The only IPv6 range of public addresses. */
const globalUnicast = ipaddr.parseCIDR('2000::/3')
/** Names that public DNS never resolves: single labels and names reserved for private use. */
const privateName = /^[^.]+$|\.(localhost|internal|local|home\.arpa)$/

function kindOfHost(hostname: string): 'private' | 'public' | 'never' {
  const host = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  if (!ipaddr.isValid(host)) {
    if (host === '' || metadataNames.has(host)) return 'never'
    return privateName.test(host) ? 'private' : 'public'
  }
  // `process` turns ::ffff:169.254.169.254 into its IPv4 address.
  const address = ipaddr.process(host)
  const inRange = (range: [ipaddr.IPv4 | ipaddr.IPv6, number]) =>
    address.kind() === range[0].kind() && address.match(range as [ipaddr.IPv4, number] & [ipaddr.IPv6, number])
  if (metadataRanges.some(inRange)) return 'never'
  if (privateRanges.includes(address.range())) return 'private'
  return address.range() === 'unicast' && (address.kind() === 'ipv4' || inRange(globalUnicast)) ? 'public' : 'never'
}

function refused(message: string): ReadAddress {
  return { ok: false, message }
}
