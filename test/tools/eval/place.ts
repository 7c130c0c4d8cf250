/** The server under evaluation, with its key and prices. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { Rates } from '../../../backends/model/money.ts'
import { toCamel } from '../../../src/http/snake-case.ts'
import type { Target } from './ask.ts'
import type { EvalOptions } from './options.ts'

export interface Place extends Target {
  rates: Rates | null
}

const Demo = z.object({ baseUrl: z.url(), model: z.string(), apiKey: z.string(), operatorKey: z.string() })

/** The server that the options name, otherwise the product that runs on this machine. */
export async function placeOf(options: EvalOptions, home: string): Promise<Place> {
  if (options.url) {
    if (!options.model) throw new Error('--model: required with --url')
    const key = options.key ?? process.env.TRAMONTANE_EVAL_KEY
    return { url: options.url, key, model: options.model, rates: options.rates }
  }
  const path = join(home, 'demo.json')
  if (!existsSync(path))
    throw new Error(`the product is not running (no ${path}). Run npm start, or set --url, --key and --model`)
  const demo = Demo.parse(JSON.parse(readFileSync(path, 'utf8')))
  const model = options.model ?? demo.model
  const rates = options.rates ?? (await ownRates(demo, model).catch(() => null))
  return { url: demo.baseUrl, key: options.key ?? demo.apiKey, model, rates }
}

const Cards = z.object({ data: z.array(z.object({ model: z.string(), effectiveAt: z.int(), ...Rates.shape })) })

/** The demo tenant's current prices; null if they cannot be read, and the table then shows no cost. */
async function ownRates(demo: z.infer<typeof Demo>, model: string): Promise<Rates | null> {
  const url = new URL('/admin/tenants/demo/rate-cards', demo.baseUrl)
  const response = await fetch(url, { headers: { authorization: `Bearer ${demo.operatorKey}` } })
  const { data } = Cards.parse(toCamel(await response.json()))
  const now = Date.now()
  const inForce = data.filter((card) => card.model === model && card.effectiveAt <= now)
  return inForce.toSorted((a, b) => a.effectiveAt - b.effectiveAt).at(-1) ?? null
}

/** Sends one request first, to report a wrong URL or key at once. Not every server has this route. */
export async function check({ url, key }: Place): Promise<void> {
  const response = await fetch(`${url}/models`, { headers: key ? { authorization: `Bearer ${key}` } : {} }).catch(
    (error: Error) => {
      throw new Error(
        `no server answers at ${url}: ${error.cause instanceof Error ? error.cause.message : error.message}`,
      )
    },
  )
  await response.body?.cancel()
  if (response.status === 401 || response.status === 403) throw new Error(`--key: ${url} rejects this key`)
}
