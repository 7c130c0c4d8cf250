import { describe, expect, it } from 'vitest'
import { clientAddress } from '../../src/auth/client-address.ts'
import { coversRange, isInRanges, readIpRange } from '../../src/auth/ip-range.ts'

describe('addresses', () => {
  it('[KEY7] an address or range is read in its shortest form; another notation is refused with the right one', () => {
    const read = (text: string) => {
      const result = readIpRange(text)
      return result.ok ? result.range : `refused: ${result.message}`
    }
    const good = {
      '192.0.2.7': '192.0.2.7',
      '192.0.2.0/24': '192.0.2.0/24',
      '192.0.2.7/32': '192.0.2.7',
      '0.0.0.0/0': '0.0.0.0/0',
      '2001:DB8:0:0::/32': '2001:db8::/32',
      '2001:db8::1/128': '2001:db8::1',
      '::/0': '::/0',
    }
    for (const [text, range] of Object.entries(good)) expect(read(text), text).toBe(range)
    const bad = {
      '192.0.2.7/24': 'Use 192.0.2.0/24.',
      '2001:db8::1/64': 'Use 2001:db8::/64.',
      '192.0.2.0/33': 'at most 32',
      '2001:db8::/129': 'at most 128',
      '::ffff:192.0.2.7': 'Use 192.0.2.7.',
    }
    for (const [text, advice] of Object.entries(bad)) expect(read(text), text).toContain(advice)
    const wrong = ['', '/', '1', '10.1', '0x7f.0.0.1', '010.0.0.1', '256.1.1.1', 'fe80::1%eth0', 'example.com']
    for (const text of [...wrong, '10.0.0.0/08', '10.0.0.0/-1', '10.0.0.0/8/8', ' 10.0.0.1', '10.0.0.0/', '[::1]'])
      expect(read(text), text).toContain('refused: is not an IP address or range')
  })

  it('[KEY8] an address is in a range by its bits, also as an IPv4 address in IPv6 form, and a range covers its parts', () => {
    const ranges = ['192.0.2.128/25', '2001:db8:1::/48', '198.51.100.7']
    const inside = ['192.0.2.128', '192.0.2.255', '::ffff:192.0.2.200', '2001:db8:1:ffff::9', '198.51.100.7']
    for (const address of inside) expect(isInRanges(address, ranges), address).toBe(true)
    for (const address of [
      '192.0.2.127',
      '192.0.3.0',
      '2001:db8:2::',
      '198.51.100.6',
      '::1',
      '',
      'x',
      '192.0.2.128/25',
    ])
      expect(isInRanges(address, ranges), address).toBe(false)
    for (let bits = 0; bits <= 32; bits++) expect(isInRanges('255.255.255.255', [`0.0.0.0/${bits}`])).toBe(bits === 0)
    const parts = ['192.0.2.128/25', '192.0.2.192/26', '192.0.2.130', '2001:db8:1:2::/64', '198.51.100.7']
    for (const range of parts) expect(coversRange(ranges, range), range).toBe(true)
    for (const range of ['192.0.2.0/24', '0.0.0.0/0', '::/0', '2001:db8::/32', '198.51.100.6/31'])
      expect(coversRange(ranges, range), range).toBe(false)
  })

  it('[KEY9] the client’s address is the header of the proxy in front, or that of this machine if there is no proxy', () => {
    const from = (address: string | undefined, header: string | null = 'cf-connecting-ip') =>
      clientAddress(new Headers(address === undefined ? {} : { 'cf-connecting-ip': address }), header)
    expect(from('203.0.113.9')).toBe('203.0.113.9')
    expect(from(undefined)).toBeNull()
    expect(from('9'.repeat(65))).toBeNull()
    expect(from('203.0.113.9', 'x-real-ip')).toBeNull()
    expect(from('203.0.113.9', null)).toBe('127.0.0.1')
  })
})
