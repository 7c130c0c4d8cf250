import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { isPublicAddress } from '../../../gpu-worker/media/address.ts'
import { type FetchPolicy, fetchGuarded, publicPolicy } from '../../../gpu-worker/media/fetch.ts'

let server: Server
let port = 0
let seen: IncomingMessage[] = []
let open = 0
let answer: (request: IncomingMessage, response: ServerResponse) => void

beforeAll(async () => {
  server = createServer((request, response) => {
    seen.push(request)
    answer(request, response)
  })
  server.on('connection', (socket) => {
    open += 1
    socket.on('close', () => {
      open -= 1
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as AddressInfo).port
})

afterAll(() => {
  server.closeAllConnections()
  server.close()
})

beforeEach(() => {
  seen = []
})

/** Host names of the test. The policy below treats this server's address as public. */
const names: Record<string, string[]> = {
  'files.example': ['127.0.0.1'],
  'near.example': ['10.0.0.7'],
  'both.example': ['127.0.0.1', '169.254.169.254'],
}
let resolved: string[] = []
const policy: FetchPolicy = {
  ports: { 'http:': 'any' },
  allowed: (address) => address === '127.0.0.1' || isPublicAddress(address),
  resolve: async (hostname) => {
    resolved.push(hostname)
    return (names[hostname] ?? []).map((address) => ({ address, family: 4 }))
  },
}
const bounds = { bytesMax: 1_000, timeoutMs: 5_000, accept: 'image/png' }
const never = new AbortController().signal
const fetched = (url: string, change: Partial<typeof bounds> = {}, signal = never) =>
  fetchGuarded(url, { ...bounds, ...change }, signal, policy)
const files = (path: string) => `http://files.example:${port}${path}`

describe('addresses', () => {
  const near =
    '168.63.129.16 161.26.0.7 161.26.255.255 166.8.0.1 166.11.255.255 100.100.100.200 192.0.0.192 169.254.170.2 fd00:ec2::254 fd20:ce::254 0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.168.1.1 192.0.0.1 192.0.2.1 198.18.0.1 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::7f00:1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001::1 2001:db8::1 fc00::1 fd12::1 fe80::1 fe80::1%eth0 ff02::1 localhost 127.1 0x7f000001 2130706433 017700000001'
  it.each(near.split(' '))('[MED20] %s is not public', (address) => {
    expect(isPublicAddress(address)).toBe(false)
  })

  it.each('8.8.8.8 93.184.215.14 172.32.0.1 100.128.0.1 2606:4700::1111 2a00:1450:4001::1'.split(' '))(
    '[MED20] %s is public',
    (address) => expect(isPublicAddress(address)).toBe(true),
  )

  it.each([
    'https://127.0.0.1/a.png',
    'https://[::1]/a.png',
    'https://[::ffff:10.0.0.1]/a.png',
    'https://2130706433/a.png',
    'https://0x7f.1/a.png',
    'https://169.254.169.254/latest/meta-data/',
    'https://localhost/a.png',
  ])('[MED20] %s is refused by the public policy', async (url) => {
    const answer = await fetchGuarded(url, bounds, never, publicPolicy)
    expect(answer).toEqual({ ok: false, message: 'its host is not on the public internet' })
  })
})

describe('a guarded fetch', () => {
  it('[MED21] a public host is fetched from the address that was checked, without credentials', async () => {
    answer = (_, response) => void response.end('bytes')
    resolved = []
    const got = await fetched(files('/a.png?x=1'))
    expect(got.ok && Buffer.from(got.bytes).toString()).toBe('bytes')
    expect(seen[0]?.url).toBe('/a.png?x=1')
    expect(seen[0]?.headers).toEqual({
      host: `files.example:${port}`,
      accept: 'image/png',
      'accept-encoding': 'identity',
      'user-agent': 'tramontane',
      connection: expect.any(String),
    })
    // The name is resolved once, so a later change of the name cannot redirect the connection.
    expect(resolved).toEqual(['files.example'])
  })

  it.each(['near.example', 'both.example', 'nowhere.example'])(
    '[MED21] %s is refused, because it has a private address or none',
    async (host) => {
      expect(await fetched(`http://${host}:${port}/`)).toEqual({
        ok: false,
        message: 'its host is not on the public internet',
      })
      expect(seen).toEqual([])
    },
  )

  it.each([
    ['http://10.0.0.1/', 'its host is not on the public internet'],
    ['http://near.example/', 'its host is not on the public internet'],
    ['http://[::1]:9/', 'its host is not on the public internet'],
    ['file:///etc/passwd', 'only https URLs are allowed'],
    ['https://files.example/', 'only https URLs are allowed'],
    ['http://a:b@files.example/', 'a URL with a user name or password is not allowed'],
    ['http://', 'it redirects to an invalid URL'],
  ])('[MED22] a redirect to %s is refused', async (location, message) => {
    answer = (_, response) => void response.writeHead(302, { location }).end()
    expect(await fetched(files('/a'))).toEqual({ ok: false, message })
    expect(seen.length).toBe(1)
  })

  it('[MED22] a fetch follows three redirects, also relative ones, and no fourth', async () => {
    answer = ({ url }, response) => {
      const left = Number(url?.slice(1))
      if (left > 0) response.writeHead(307, { location: `/${left - 1}` }).end()
      else response.end('there')
    }
    expect((await fetched(files('/3'))).ok).toBe(true)
    expect(await fetched(files('/4'))).toEqual({ ok: false, message: 'it redirects more than 3 times' })
  })

  const faults: [string, (response: ServerResponse) => void, string][] = [
    ['not found', (response) => response.writeHead(404).end(), 'its host returned status 404'],
    [
      'declared too large',
      (response) => response.writeHead(200, { 'content-length': 1_001 }).write('x'),
      'larger than',
    ],
    ['too large in chunks', (response) => response.write('x'.repeat(2_000)), 'larger than'],
    ['compressed', (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).write('x'), 'compressed'],
    [
      'broken off',
      (response) => response.writeHead(200, { 'content-length': 9 }).write('x', () => response.destroy()),
      'cannot be reached',
    ],
  ]
  it.each(faults)('[MED23] %s: the response is refused, and the connection is closed', async (_, fault, message) => {
    answer = (_, response) => void fault(response)
    const got = await fetched(files('/a'))
    expect(got).toMatchObject({ ok: false, message: expect.stringContaining(message) })
    await expect.poll(() => open).toBe(0)
  })

  it('[MED23] a host that never answers, or sends too slowly, is refused after the time limit', async () => {
    answer = () => undefined
    expect(await fetched(files('/a'), { timeoutMs: 50 })).toMatchObject({ message: expect.stringContaining('seconds') })
    answer = (_, response) => {
      response.flushHeaders()
      const drip = setInterval(() => response.write('x'), 10)
      response.on('close', () => clearInterval(drip))
    }
    expect(await fetched(files('/a'), { timeoutMs: 80 })).toMatchObject({ message: expect.stringContaining('seconds') })
    await expect.poll(() => open).toBe(0)
  })

  it('[MED23] another port and plain HTTP are refused by the public policy', async () => {
    const fetchPublic = (url: string) => fetchGuarded(url, bounds, never, publicPolicy)
    expect(await fetchPublic('https://8.8.8.8:8443/')).toEqual({ ok: false, message: 'only port 443 is allowed' })
    expect(await fetchPublic('http://8.8.8.8/')).toEqual({ ok: false, message: 'only https URLs are allowed' })
  })

  it('[MED24] a client that disconnects ends the fetch', async () => {
    const left = new AbortController()
    answer = () => left.abort(new Error('left'))
    await expect(fetched(files('/a'), {}, left.signal)).rejects.toThrow('left')
    await expect.poll(() => open).toBe(0)
  })
})
