/** The product under attack: started here with an attacking tenant and a neighbour, and observed from outside. */
import { readFileSync } from 'node:fs'
import { eventually, type Product, startProduct } from '../../support/product.ts'

export interface Answer {
  /** 0 without an answer. */
  status: number
  text: string
  headers: Headers
  ms: number
}

interface SendOptions {
  key?: string | null
  method?: string
  headers?: Record<string, string>
  /** The client disconnects after this many milliseconds. */
  leaveMs?: number
  /** Text that is sent unchanged instead of JSON. */
  raw?: string | Uint8Array<ArrayBuffer>
}

interface Attacker {
  tenantId: string
  apiKey: string
}

export interface World {
  product: Product
  origin: string
  model: string
  attacker: Attacker
  neighbourKey: string
  /** Never rejects: a broken connection is an answer of status 0 with the reason. */
  send(path: string, body: unknown, options?: SendOptions): Promise<Answer>
  chat(change: object, options?: SendOptions): Promise<Answer>
  stop(): Promise<void>
}

/** Longest wait for an answer. */
const answerMaxMs = 60_000
/** Longest text read of an answer, to bound this client's own memory. */
const answerCharactersMax = 200_000

export async function startWorld(): Promise<World> {
  const product = await startProduct()
  const origin = `http://127.0.0.1:${product.port}`
  const { model } = product.demo()
  const attacker = await addTenant(product, 'attacker')
  const neighbour = await addTenant(product, 'neighbour')

  async function send(path: string, body: unknown, options: SendOptions = {}): Promise<Answer> {
    const { key = attacker.apiKey, method = 'POST', headers = {}, leaveMs = answerMaxMs, raw } = options
    const startedAt = performance.now()
    let status = 0
    let text = ''
    let answered = new Headers()
    try {
      const response = await fetch(origin + path, {
        method,
        headers: {
          ...(key !== null && { authorization: `Bearer ${key}` }),
          'content-type': 'application/json',
          ...headers,
        },
        ...(method !== 'GET' && { body: raw ?? JSON.stringify(body) }),
        signal: AbortSignal.timeout(leaveMs),
      })
      status = response.status
      answered = response.headers
      const decoder = new TextDecoder()
      for await (const part of response.body ?? []) {
        if (text.length < answerCharactersMax) text += decoder.decode(part, { stream: true })
      }
    } catch (error) {
      text += `[${error instanceof Error ? `${error.name}: ${error.message}` : error}]`
    }
    return { status, text, headers: answered, ms: Math.round(performance.now() - startedAt) }
  }

  return {
    product,
    origin,
    model,
    attacker,
    neighbourKey: neighbour.apiKey,
    send,
    chat: (change, options) =>
      send(
        '/v1/chat/completions',
        { model, max_tokens: 8, messages: [{ role: 'user', content: 'What is 2 + 2?' }], ...change },
        options,
      ),
    stop: async () => void (await product.stop()),
  }
}

async function addTenant(product: Product, tenantId: string, body: object = {}): Promise<Attacker> {
  await product.admin('POST', '/admin/tenants', { tenantId, name: tenantId, creditNano: 100_000_000_000, ...body })
  return { tenantId, apiKey: await addKey(product, tenantId) }
}

export async function addKey(product: Product, tenantId: string, body: object = {}): Promise<string> {
  const { apiKey } = await product.admin<{ apiKey: string }>('POST', `/admin/tenants/${tenantId}/keys`, {
    name: 'key',
    mode: 'test',
    ...body,
  })
  return apiKey
}

/** Everything that this tenant has not released. Retries for 20 s until it is empty. */
export async function leftovers(world: World, inFlight: () => number): Promise<string[]> {
  const look = async () => {
    const found: string[] = []
    try {
      const books = await world.product.tenant(world.attacker.tenantId)
      if (books.openReservations > 0) found.push(`${books.openReservations} open reservations`)
      if (books.reservedNano > 0) found.push(`${books.reservedNano} nano-dollars reserved`)
      const pools = await world.product.admin<Record<string, { leased: number; unleased: number; waiting: number }>>(
        'GET',
        '/admin/pools',
      )
      const held = Object.values(pools).reduce((sum, { leased, unleased }) => sum + leased + unleased, 0)
      const waiting = Object.values(pools).reduce((sum, pool) => sum + pool.waiting, 0)
      if (held > inFlight()) found.push(`${held - inFlight()} slots held`)
      if (waiting > 0) found.push(`${waiting} requests queued`)
    } catch (error) {
      found.push(`counters unavailable: ${error instanceof Error ? error.message.slice(0, 80) : error}`)
    }
    return found
  }
  return eventually(look, (found) => found.length === 0, 20_000)
}

export interface ProcessSample {
  name: string
  pid: number
  bytes: number
}

/** Every process of the product with its resident memory. Linux only. */
export function processes(product: Product): ProcessSample[] {
  let pids: ReturnType<Product['demo']>['pids']
  try {
    pids = product.demo().pids
  } catch {
    return []
  }
  const named: [string, number][] = [
    ['edge', pids.workerd],
    ['edge host', pids.edgeHost],
    ['latency worker', pids.latency],
    ['throughput worker', pids.throughput],
  ]
  for (const [pool, pid] of [
    ['latency', pids.latency],
    ['throughput', pids.throughput],
  ] as const)
    for (const child of childrenOf(pid)) named.push([`${pool} ${roleOf(child)}`, child])
  return named.flatMap(([name, pid]) => {
    const bytes = residentBytes(pid)
    return bytes === undefined ? [] : [{ name, pid, bytes }]
  })
}

/** A worker has an engine process, and a schema compiler process that is started and replaced as needed. */
function roleOf(pid: number): 'engine' | 'compiler' {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('grammar-child') ? 'compiler' : 'engine'
  } catch {
    return 'compiler'
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

function residentBytes(pid: number): number | undefined {
  try {
    const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1_024
  } catch {
    return undefined
  }
}
