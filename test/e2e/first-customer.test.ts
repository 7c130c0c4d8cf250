/** The README's path from nothing to a statement, run as it is printed. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { examples, readCurl } from '../docs/examples.ts'
import { eventually, type Product, startProduct } from '../support/product.ts'

describe('the first customer', () => {
  let product: Product

  beforeAll(async () => {
    product = await startProduct()
  })

  afterAll(async () => {
    await product?.stop()
  })

  it('[RUN23] the README’s commands lead an operator from nothing to a request and a statement that adds up', async () => {
    const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
    const part = readme.slice(readme.indexOf('## First customer'), readme.indexOf('## Measured'))
    const commands = examples(part, 'bash').flatMap((block) => block.split(/\n(?=curl )/))
    expect(commands).toHaveLength(8)
    const { operatorKey, baseUrl } = product.demo()
    const { origin } = new URL(baseUrl)
    const known: Record<string, string> = { EDGE: origin, OPERATOR_KEY: operatorKey }
    const answers: { path: string; body: Answer }[] = []
    for (const command of commands) {
      const { url, method, headers, body } = readCurl(command, known)
      const response = await fetch(url, { method, headers, ...(body !== undefined && { body }) })
      const text = await response.text()
      expect([command, response.status, text]).toEqual([command, expect.toSatisfy(isSuccess), expect.any(String)])
      const answer = JSON.parse(text) as Answer
      if (answer.api_key !== undefined) known.ACME_KEY = answer.api_key
      answers.push({ path: new URL(url).pathname, body: answer })
    }
    const cost = answers.find(({ path }) => path === '/v1/chat/completions')?.body.usage?.cost_nano
    expect(cost).toBeGreaterThan(0)

    // The first lists may precede the receipt of the request.
    const own = async (path: string) => {
      const headers = { authorization: `Bearer ${known.ACME_KEY}` }
      return (await (await fetch(origin + path, { headers })).json()) as Answer
    }
    const { data } = await eventually(
      () => own('/v1/requests'),
      (list) => list.data?.length === 1 && list.data[0]?.cost_nano === cost,
    )
    expect(data).toMatchObject([{ cost_nano: cost }])
    const [statement] = (await own('/v1/statements')).data ?? []
    expect(statement).toMatchObject({
      opening_balance_nano: 0,
      credits_nano: 1e10,
      usage_nano: -(cost ?? 0),
      closing_balance_nano: 1e10 - (cost ?? 0),
    })
  })
})

interface Answer {
  api_key?: string
  usage?: { cost_nano: number }
  data?: Record<string, unknown>[]
}

const isSuccess = (status: unknown) => status === 200 || status === 201
