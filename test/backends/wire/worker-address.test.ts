import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { addressAllows, formatWorkerAddress, readWorkerAddress } from '../../../backends/wire/worker-address.ts'

const faultOf = (text: string) => {
  const read = readWorkerAddress(text, 'any-port')
  return read.ok ? undefined : read.message
}

const addressOf = (text: string) => {
  const read = readWorkerAddress(text, 'any-port')
  if (!read.ok) throw new Error(`${text} ${read.message}`)
  return read.address
}

describe('worker addresses', () => {
  it('[WEN1] a link-local, metadata or reserved address is refused in every notation', () => {
    const hosts = [
      '169.254.169.254',
      '169.254.0.1',
      '169.254.170.2',
      '2852039166',
      '0xa9fea9fe',
      '0251.0376.0251.0376',
      '169.16689662',
      '169.254.169.254.',
      '[::ffff:169.254.169.254]',
      '[::ffff:a9fe:a9fe]',
      '[::a9fe:a9fe]',
      '[64:ff9b::a9fe:a9fe]',
      '[2002:a9fe:a9fe::1]',
      '[fe80::1]',
      '[fd00:ec2::254]',
      '[fd00:ec2::23]',
      '[fd20:ce::254]',
      '168.63.129.16',
      '[::ffff:168.63.129.16]',
      '100.100.100.200',
      '192.0.0.192',
      '0.0.0.0',
      '0',
      '[::]',
      '255.255.255.255',
      '224.0.0.1',
      '240.0.0.1',
      '[ff02::1]',
      'metadata',
      'metadata.google.internal',
      'METADATA.google.internal.',
      'instance-data.ec2.internal',
      '１６９.254.169.254',
    ]
    for (const host of hosts)
      for (const url of [`http://${host}/`, `https://${host}:8443`, `http://${host}:*`])
        expect(faultOf(url), url).toBeDefined()
    const odd = [
      'https://user@gpu.example.com',
      'https://u:p@gpu.example.com',
      'https://gpu.example.com/?a=b',
      'https://gpu.example.com/#',
      'https://gpu.example.com\\@10.0.0.1/',
      'https://gpu.example.com/\r\nx',
      ' https://gpu.example.com',
      'ftp://gpu.example.com',
      'file:///etc/passwd',
      'gpu.example.com:9000',
      'https://',
      'https://gpu.example.com:99999',
      'https://user:*@gpu.example.com',
      `https://${'a'.repeat(600)}.example.com`,
      '',
    ]
    for (const url of odd) expect(faultOf(url), url).toBeDefined()
  })

  it('[WEN1] http is allowed only for private and loopback hosts; https also for public ones', () => {
    for (const host of ['gpu.example.com', '8.8.8.8', '[2606:4700::1]', 'gpu.internal.example.com']) {
      expect(faultOf(`http://${host}:9000`), host).toMatch(/http on a public host/)
      expect(faultOf(`https://${host}:9000`), host).toBeUndefined()
    }
    const near = ['127.0.0.1', '[::1]', 'localhost', '10.1.2.3', '192.168.0.9', '172.16.0.1', '100.64.0.1', '[fd12::1]']
    for (const host of [...near, 'gpu-1', 'gpu-1.internal', 'w.workers.svc.cluster.local', '[::ffff:10.0.0.1]'])
      expect(faultOf(`http://${host}:9000`), host).toBeUndefined()
  })

  it('[WEN2] a claimed address needs the enrolled scheme, host and path, and the enrolled port unless that is `*`', () => {
    const allows = (enrolled: string, claimed: string) => addressAllows(addressOf(enrolled), addressOf(claimed))
    expect(allows('http://127.0.0.1:*', 'http://127.0.0.1:43127')).toBe(true)
    expect(allows('http://127.0.0.1:*', 'http://127.0.0.1')).toBe(true)
    expect(allows('https://GPU.example.com', 'https://gpu.example.com:443/')).toBe(true)
    expect(allows('https://gpu.example.com:9000/a', 'https://gpu.example.com:9000/a/')).toBe(true)
    expect(allows('http://127.0.0.1:*', 'http://127.0.0.2:1')).toBe(false)
    expect(allows('http://127.0.0.1:*', 'https://127.0.0.1:1')).toBe(false)
    expect(allows('http://127.0.0.1:*', 'http://127.0.0.1:1/admin')).toBe(false)
    expect(allows('http://127.0.0.1:9000', 'http://127.0.0.1:9001')).toBe(false)
    expect(allows('https://gpu.example.com', 'https://gpu.example.com.evil.com')).toBe(false)
    expect(readWorkerAddress('http://127.0.0.1:*', 'one-port')).toMatchObject({ ok: false })
  })

  it('[WEN2] an address that is formatted and read back is unchanged', () => {
    const host = fc.constantFrom('127.0.0.1', '10.0.0.1', 'gpu.example.com', '[fd12::1]', 'localhost')
    const port = fc.oneof(
      fc.constant(''),
      fc.constant(':*'),
      fc.integer({ min: 1, max: 65_535 }).map((n) => `:${n}`),
    )
    const path = fc.constantFrom('', '/', '/a', '/a/b/')
    fc.assert(
      fc.property(fc.constantFrom('https', 'http'), host, port, path, (scheme, name, suffix, rest) => {
        const read = readWorkerAddress(`${scheme}://${name}${suffix}${rest}`, 'any-port')
        if (!read.ok) return
        expect(addressOf(formatWorkerAddress(read.address))).toEqual(read.address)
        expect(addressAllows(read.address, read.address)).toBe(true)
      }),
    )
  })
})
