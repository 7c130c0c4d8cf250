/** Which addresses a fetch for a client may connect to: the public internet, and nothing that is near this machine. */
import ipaddr from 'ipaddr.js'

/**
 * True for a unicast address of the public internet. Private, loopback, link-local, shared (carrier) and reserved
 * ranges are not, nor are the forms of IPv6 that carry an IPv4 address of any kind inside them (mapped, 6to4, Teredo,
 * NAT64): who reaches what through those depends on the network.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.parse(address)
  if (parsed.range() !== 'unicast') return false
  if (cloudOwn.some((range) => parsed.kind() === range[0].kind() && parsed.match(range))) return false
  // Nothing else of IPv6 is given out; `::7f00:1`, an old form of 127.0.0.1, is unicast by its prefix too.
  return parsed.kind() === 'ipv4' || parsed.match(globalUnicast)
}

/**
 * Public by their prefix, and answered inside of a cloud by its own services: Azure's host (keys of the machine, DNS), the
 * service networks of IBM. The metadata addresses of other clouds are link-local, shared, unique-local or reserved.
 */
const cloudOwn = ['168.63.129.16/32', '161.26.0.0/16', '166.8.0.0/14'].map((range) => ipaddr.parseCIDR(range))

const globalUnicast = ipaddr.parseCIDR('2000::/3')
