/** The users' guides on a running gateway: every example works when a reader copies it. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { examples, readCurl } from '../docs/examples.ts'
import { guides } from '../docs/tables.ts'
import { type Product, startProduct } from '../support/product.ts'

describe('the users’ guides', () => {
  let product: Product

  beforeAll(async () => {
    product = await startProduct()
  })

  afterAll(async () => {
    await product?.stop()
  })

  const commands = ['index.md', 'quickstart.md', 'api.md', 'migrate.md', 'limits.md', 'errors.md'].flatMap((file) =>
    examples(readFileSync(guides + file, 'utf8'), 'bash').map((command, index) => ({
      file,
      number: index + 1,
      command,
    })),
  )

  it.each(commands)('[SITE15] curl example $number of $file succeeds', async ({ file, number, command }) => {
    const { baseUrl, apiKey } = product.demo()
    const { url, method, headers, body } = readCurl(command, { TRAMONTANE_API_KEY: apiKey })
    const here = url.replace('http://127.0.0.1:8787', new URL(baseUrl).origin)
    const response = await fetch(here, { method, headers, ...(body !== undefined && { body }) })
    const text = await response.text()
    if (file === 'errors.md' && number === 1) {
      expect(response.status).toBe(400)
      expect(JSON.parse(text)).toMatchObject({ code: 'invalid_value', param: 'temperature' })
    } else expect([response.status, text]).toEqual([200, expect.stringMatching(/\S/)])
  })
})
