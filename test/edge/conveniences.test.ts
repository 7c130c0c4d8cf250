/** Addresses, keys and bodies as careless or older clients send them. */
import { describe, expect, it } from 'vitest'
import { openKey, openTenant } from './client.ts'
import { fetchGateway } from './gateway.ts'

const model = 'tramontane-tiny'
let key = ''

async function apiKey(): Promise<string> {
  if (key) return key
  await openTenant('careless')
  key = (await openKey('careless')).apiKey
  return key
}

async function send(method: string, path: string, init: RequestInit = {}) {
  const headers = { authorization: `Bearer ${await apiKey()}`, ...(init.headers as Record<string, string>) }
  const response = await fetchGateway(`https://gateway.test${path}`, { method, ...init, headers })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text ? JSON.parse(text) : undefined }
}

const chat = JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] })

async function compressed(text: string, format: 'gzip' | 'deflate' = 'gzip'): Promise<ArrayBuffer> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream(format))
  return new Response(stream).arrayBuffer()
}

describe('addresses', () => {
  it('[RTE10] a base address with a slash, a doubled or missing /v1, or Azure’s prefix reaches the same route', async () => {
    for (const path of ['/v1/models', '/v1/models/', '//v1//models', '/v1/v1/models', '/models', '/openai/v1/models'])
      expect([path, (await send('GET', path)).body]).toMatchObject([path, { object: 'list' }])
    for (const path of ['/mistral/v1/models', '/mistral/v1/v1/models/', '/mistral/models'])
      expect([path, (await send('GET', path)).body]).toMatchObject([path, { object: 'list' }])
    // No worker is up, so a chat request that reached its route gets 503 or, from Messages, 529.
    for (const path of ['/v1/v1/chat/completions', '/chat/completions/', '/openai/v1/responses', '/v1/v1/v1/responses'])
      expect([path, (await send('POST', path, { body: chat })).status]).not.toEqual([path, 404])
    const message = await send('POST', '/v1/v1/messages', { body: '{}' })
    expect(message).toMatchObject({ status: 400, body: { type: 'error' } })
    expect((await send('GET', '/v2/models')).status).toBe(404)
    expect((await send('GET', '/v1/v1')).status).toBe(404)
  })

  it('[RTE11] a 404 names the route whose path is nearest', async () => {
    const messageOf = async (path: string) => (await send('POST', path, { body: '{}' })).body.message as string
    expect(await messageOf('/v1/chat/completion')).toContain('Did you mean /v1/chat/completions?')
    expect(await messageOf('/v1/respones')).toContain('Did you mean /v1/responses?')
    expect(await messageOf('/mistral/v1/chat/completion')).toContain('Did you mean /mistral/v1/chat/completions?')
    expect(await messageOf('/something/else/entirely')).not.toContain('Did you mean')
    expect(await messageOf(`/${'a'.repeat(5_000)}`)).not.toContain('Did you mean')
  })

  it('[RTE12] the key may arrive as api-key, as Azure’s clients send it', async () => {
    const response = await fetchGateway('https://gateway.test/v1/models', { headers: { 'api-key': await apiKey() } })
    expect(await response.json()).toMatchObject({ object: 'list' })
    const wrong = await fetchGateway('https://gateway.test/v1/models', { headers: { 'api-key': 'tm_live_x' } })
    expect(wrong.status).toBe(401)
  })
})

describe('compressed bodies', () => {
  const post = (body: BodyInit, encoding: string) =>
    send('POST', '/v1/chat/completions', { body, headers: { 'content-encoding': encoding } })

  it('[HOST20] a body in gzip or deflate is read like an uncompressed one', async () => {
    const wrong = JSON.stringify({ model, temperature: 3, messages: [{ role: 'user', content: 'hi' }] })
    for (const format of ['gzip', 'deflate'] as const)
      expect(await post(await compressed(wrong, format), format)).toMatchObject({
        status: 400,
        body: { param: 'temperature' },
      })
    expect((await post(await compressed(chat), 'GZIP')).status).toBe(503)
  })

  it('[HOST21] a body that is not what its encoding says, or in another encoding, returns 400', async () => {
    expect(await post(chat, 'gzip')).toMatchObject({ status: 400, body: { code: 'invalid_json' } })
    const whole = await compressed(chat)
    expect(await post(whole.slice(0, 20), 'gzip')).toMatchObject({ status: 400, body: { code: 'invalid_json' } })
    expect(await post(chat, 'br')).toMatchObject({ status: 400, body: { param: 'content-encoding' } })
  })

  it('[HOST22] a compressed body that expands beyond 4 MiB, or too much, returns 413 without being read to its end', async () => {
    const bomb = await compressed(`{"a":"${'x'.repeat(60 * 1024 * 1024)}"}`)
    expect(bomb.byteLength).toBeLessThan(200_000)
    const refused = { status: 413, body: { code: 'request_too_large', message: expect.stringContaining('100 times') } }
    expect((await post(bomb, 'gzip')).status).toBe(413)
    const small = await compressed(`{"a":"${'x'.repeat(3 * 1024 * 1024)}"}`)
    expect(await post(small, 'gzip')).toMatchObject(refused)
    const random = Array.from({ length: 700_000 }, () => Math.random().toString(36))
      .join('')
      .slice(0, 8_000_000)
    const text = (length: number) => `{"a":"${random.slice(0, length)}"}`
    expect(await post(await compressed(text(5_000_000)), 'gzip')).toMatchObject({
      ...{ status: 413, body: { message: expect.stringContaining('larger than 4194304 bytes after decompression') } },
    })
    expect(await post(await compressed(text(4_000_000)), 'gzip')).toMatchObject({
      status: 400,
      body: { param: 'model' },
    })
  })
})

describe('seeds', () => {
  it('[RTE13] a seed of 64 bits is accepted, and a fraction is not', async () => {
    const ask = (seed: string) =>
      send('POST', '/v1/chat/completions', { body: chat.replace('{"model"', `{"seed":${seed},"model"`) })
    for (const seed of ['18446744073709551615', '-9223372036854775808', '0'])
      expect([seed, (await ask(seed)).status]).toEqual([seed, 503])
    expect(await ask('1.5')).toMatchObject({ status: 400, body: { param: 'seed' } })
    expect(await ask('1e400')).toMatchObject({ status: 400 })
  })
})
