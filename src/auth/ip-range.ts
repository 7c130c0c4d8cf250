/** IP addresses and ranges in CIDR notation, IPv4 and IPv6, as an API key's allow-list has them. Pure. */
import ipaddr from 'ipaddr.js'

export const ipRangeCharactersMax = 49

export type ReadIpRange = { ok: true; range: string } | { ok: false; message: string }

/** Reads an address or a range and returns it in its shortest form, such as `192.0.2.7` or `2001:db8::/32`. */
export function readIpRange(text: string): ReadIpRange {
  const example = 'Use an address or a range, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32.'
  const [host = '', bits, ...rest] = text.split('/')
  if (rest.length > 0 || !isPlainAddress(host) || (bits !== undefined && !/^(0|[1-9]\d{0,2})$/.test(bits)))
    return { ok: false, message: `is not an IP address or range. ${example}` }
  const address = ipaddr.parse(host)
  if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress())
    return { ok: false, message: `is an IPv4 address in IPv6 form. Use ${address.toIPv4Address()}.` }
  const bitsMax = address.kind() === 'ipv4' ? 32 : 128
  const length = bits === undefined ? bitsMax : Number(bits)
  if (length > bitsMax) return { ok: false, message: `has a prefix of ${length} bits. Use at most ${bitsMax}.` }
  const network = networkOf(address, length)
  if (network !== address.toString())
    return { ok: false, message: `has address bits after its prefix. Use ${network}/${length}.` }
  return { ok: true, range: length === bitsMax ? network : `${network}/${length}` }
}

/** Whether the address is in one of the ranges. A text that is no address is in none. */
export function isInRanges(address: string, ranges: readonly string[]): boolean {
  if (!ipaddr.isValid(address)) return false
  const known = ipaddr.process(address)
  return ranges.some((range) => contains(range, known, known.kind() === 'ipv4' ? 32 : 128))
}

/** Whether one of the ranges contains the whole of `range`. */
export function coversRange(ranges: readonly string[], range: string): boolean {
  const [address, bits] = parsed(range)
  return ranges.some((outer) => contains(outer, address, bits))
}

function contains(outer: string, address: ipaddr.IPv4 | ipaddr.IPv6, bits: number): boolean {
  const [network, outerBits] = parsed(outer)
  if (network.kind() !== address.kind() || bits < outerBits) return false
  return networkOf(address, outerBits) === network.toString()
}

function parsed(range: string): [address: ipaddr.IPv4 | ipaddr.IPv6, bits: number] {
  const [host = '', bits] = range.split('/')
  const address = ipaddr.parse(host)
  return [address, bits === undefined ? address.toByteArray().length * 8 : Number(bits)]
}

/** The address with all bits after the prefix cleared, in its shortest form. */
function networkOf(address: ipaddr.IPv4 | ipaddr.IPv6, bits: number): string {
  const bytes = address.toByteArray().map((byte, index) => {
    const kept = Math.min(8, Math.max(0, bits - index * 8))
    return byte & (0xff << (8 - kept)) & 0xff
  })
  return ipaddr.fromByteArray(bytes).toString()
}

/** Refuses the older notations, such as `0x7f.1`, and addresses with a zone. */
function isPlainAddress(text: string): boolean {
  return text.includes(':')
    ? /^[0-9a-f:.]+$/i.test(text) && ipaddr.IPv6.isValid(text)
    : ipaddr.IPv4.isValidFourPartDecimal(text)
}
