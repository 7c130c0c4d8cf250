/** Decides to which addresses a fetch for a client may connect: the public internet, and no host near this machine. */
import ipaddr from 'ipaddr.js'

/**
 * Returns true for a unicast address of the public internet. Private, loopback, link-local, shared (carrier) and
 * reserved ranges are not public. IPv6 forms that embed an IPv4 address (mapped, 6to4, Teredo, NAT64) are not either:
 * their destination depends on the network.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.parse(address)
  if (parsed.range() !== 'unicast') return false
  if (cloudOwn.some((range) => parsed.kind() === range[0].kind() && parsed.match(range))) return false
  // No other IPv6 range is allocated. `::7f00:1`, an old form of 127.0.0.1, also counts as unicast by its prefix.
  return parsed.kind() === 'ipv4' || parsed.match(globalUnicast)
}

/**
 * Public by their prefix, but a cloud's internal services answer there: Azure's host (keys of the machine, DNS) and
 * IBM's service networks. Metadata addresses of other clouds are link-local, shared, unique-local or reserved.
 */
const cloudOwn = ['168.63.129.16/32', '161.26.0.0/16', '166.8.0.0/14'].map((range) => ipaddr.parseCIDR(range))

const globalUnicast = ipaddr.parseCIDR('2000::/3')
