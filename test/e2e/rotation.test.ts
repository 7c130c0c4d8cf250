/** The secrets of a local installation are rotated with an overlap, by hand, as the guide says. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type Product, startProduct, temporaryHome } from '../support/product.ts'

const home = temporaryHome()
afterAll(() => rmSync(home, { recursive: true, force: true }))
const path = join(home, 'state.json')
const state = () => JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>

async function answers(product: Product, apiKey: string, headers: Record<string, string> = {}): Promise<number> {
  const { baseUrl, model } = product.demo()
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model, max_tokens: 4, messages: [{ role: 'user', content: 'Hi' }] }),
  })
  await response.text()
  return response.status
}

describe('a local installation', () => {
  let old = ''

  it('[RUN9] an allow-list is compared with this machine’s address, and a header that a client sets does not count', async () => {
    const product = await startProduct({ home })
    try {
      old = product.demo().apiKey
      const make = async (allowed_ips: string[]) => {
        const response = await fetch(`${product.demo().baseUrl.replace('/v1', '')}/admin/tenants/demo/keys`, {
          method: 'POST',
          headers: { authorization: `Bearer ${product.demo().operatorKey}`, 'content-type': 'application/json' },
          body: JSON.stringify({ name: 'fenced', allowedIps: allowed_ips }),
        })
        const made = (await response.json()) as { apiKey?: string; api_key?: string }
        return made.apiKey ?? made.api_key ?? ''
      }
      const [here, elsewhere] = [await make(['127.0.0.0/8']), await make(['203.0.113.0/24'])]
      expect(await answers(product, here)).toBe(200)
      expect(await answers(product, here, { 'cf-connecting-ip': '203.0.113.9' })).toBe(200)
      expect(await answers(product, elsewhere)).toBe(403)
      const claims = { 'cf-connecting-ip': '203.0.113.9', 'mf-cf-blob': '{"clientIp":"203.0.113.9:1"}' }
      expect(await answers(product, elsewhere, claims)).toBe(403)
    } finally {
      await product.stop()
    }
  })

  it('[RUN8] after a rotation with an overlap the old key works and the workers are ready; without the overlap it is refused', async () => {
    const { keySecret, fleetSecret, ...rest } = state()
    const secrets = { keySecret: 'n'.repeat(64), fleetSecret: 'm'.repeat(64) }
    const overlap = { keySecretPrevious: keySecret, fleetSecretPrevious: fleetSecret }
    writeFileSync(path, JSON.stringify({ ...rest, ...secrets, ...overlap }))
    const during = await startProduct({ home })
    let fresh = ''
    try {
      expect(await answers(during, old)).toBe(200)
      const { keyId } = /^tm_test_demo_(?<keyId>[a-z0-9]+)_/.exec(old)?.groups ?? {}
      const response = await fetch(`${during.demo().baseUrl}/keys/${keyId}/rotate`, {
        method: 'POST',
        headers: { authorization: `Bearer ${old}` },
      })
      fresh = ((await response.json()) as { api_key: string }).api_key
      expect(await answers(during, fresh)).toBe(200)
    } finally {
      await during.stop()
    }
    writeFileSync(path, JSON.stringify({ ...rest, ...secrets }))
    const after = await startProduct({ home })
    try {
      expect([await answers(after, fresh), await answers(after, old)]).toEqual([200, 401])
    } finally {
      await after.stop()
    }
  })
})
