/** Starts the whole product in its own folder, as a user does, and reads its state over HTTP. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import type { PoolView } from '../../src/fleet/views.ts'
import { toCamel, toSnake } from '../../src/http/snake-case.ts'
import type { TenantSummary } from '../../src/tenant/rpc.ts'
import { watchAnswers } from './answer-watch.ts'

/** Key for the details of each worker's `/healthz`, and for `/metrics`. */
export const metricsKey = 'metrics-key-of-a-test'

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Demo {
  baseUrl: string
  model: string
  apiKey: string
  operatorKey: string
  pids: { start: number; edgeHost: number; workerd: number; latency: number; throughput: number }
}

/** A tenant's balances, and the totals of all its entries. */
export type TenantBooks = TenantSummary & { totals: NonNullable<TenantSummary['totals']> }

export interface Product {
  home: string
  port: number
  /** Reads the file on each call: process ids change after a restart. */
  demo(): Demo
  demoMode(): number
  client(apiKey?: string): OpenAI
  /** Sends a request with the operator key, and returns the parsed answer. */
  admin<Answer>(method: string, path: string, body?: unknown): Promise<Answer>
  tenant(tenantId: string): Promise<TenantBooks>
  /** Returns the counters that must be zero when no request is running. */
  counters(): Promise<Counters>
  output(): string
  /** Sends SIGTERM, and returns the exit code. */
  stop(): Promise<number | null>
}

export interface Counters {
  leased: number
  unleased: number
  waiting: number
  engineRunning: number
  openReservations: number
  reservedNano: number
  receiptsOwed: number
}

export function temporaryHome(): string {
  return mkdtempSync(join(tmpdir(), 'tramontane-'))
}

export async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const address = probe.address()
  await new Promise((resolve) => probe.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}

/** Runs the program of `npm start` for a start that must fail, and returns its exit code and errors. */
export async function startAndFail(env: Record<string, string>): Promise<{ code: number | null; stderr: string }> {
  const child = launch(env)
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve))
  return { code, stderr }
}

export async function startProduct(options: { home?: string; env?: Record<string, string> } = {}): Promise<Product> {
  const home = options.home ?? temporaryHome()
  const port = await freePort()
  const own = { TRAMONTANE_HOME: home, PORT: String(port), TRAMONTANE_METRICS_KEY: metricsKey }
  const child = launch({ ...own, ...options.env })
  let output = ''
  const ready = new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text
        if (output.includes('Press Ctrl-C to stop everything')) resolve()
      })
    }
    child.once('exit', (code) => reject(new Error(`the product exited with ${code}:\n${output}`)))
  })
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  await ready
  const path = join(home, 'demo.json')
  const demo = (): Demo => JSON.parse(readFileSync(path, 'utf8'))
  const origin = `http://127.0.0.1:${port}`
  await watchAnswers(origin)

  /** Names are camelCase here and snake_case on the wire. */
  async function admin<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await fetch(origin + path, {
      method,
      headers: { authorization: `Bearer ${demo().operatorKey}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(toSnake(body)) }),
    })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return toCamel(await response.json()) as Answer
  }

  const tenant = (tenantId: string) => admin<TenantBooks>('GET', `/admin/tenants/${tenantId}?totals=true`)

  async function counters(): Promise<Counters> {
    const pools = await admin<Record<string, PoolView>>('GET', '/admin/pools')
    const books = await tenant('demo')
    const views = Object.values(pools)
    const healths = await Promise.all(views.flatMap((view) => view.workers).map(({ url }) => healthOf(url)))
    const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0)
    return {
      leased: sum(views.map((view) => view.leased)),
      unleased: sum(views.map((view) => view.unleased)),
      waiting: sum(views.map((view) => view.waiting)),
      engineRunning: sum(healths.map((health) => health.load.running)),
      openReservations: books.openReservations,
      reservedNano: books.reservedNano,
      receiptsOwed: sum(healths.map((health) => health.receipts.running + health.receipts.owed)),
    }
  }

  return {
    home,
    port,
    demo,
    demoMode: () => statSync(path).mode & 0o777,
    client: (apiKey) =>
      new OpenAI({ baseURL: `${origin}/v1`, apiKey: apiKey ?? demo().apiKey, maxRetries: 0, timeout: 60_000 }),
    admin,
    tenant,
    counters,
    output: () => output,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      const code = await exited
      if (!options.home) rmSync(home, { recursive: true, force: true })
      return code
    },
  }
}

/** Reads a worker's `/healthz` with its details. */
export async function healthOf(workerUrl: string): Promise<Health> {
  const headers = { authorization: `Bearer ${metricsKey}` }
  return (await (await fetch(`${workerUrl}/healthz`, { headers })).json()) as Health
}

export const zero: Counters = {
  leased: 0,
  unleased: 0,
  waiting: 0,
  engineRunning: 0,
  openReservations: 0,
  reservedNano: 0,
  receiptsOwed: 0,
}

/** Reads a value until the condition holds or `ms` have passed. Returns the last value for the test to compare. */
export async function eventually<Value>(
  read: () => Promise<Value>,
  done: (value: Value) => boolean,
  ms = 10_000,
): Promise<Value> {
  const deadline = performance.now() + ms
  for (;;) {
    const value = await read()
    if (done(value) || performance.now() > deadline) return value
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export function isZero(counters: Counters): boolean {
  return Object.values(counters).every((count) => count === 0)
}

export interface Health {
  status: string
  engine: string
  contextTokens: number
  slotsMax: number
  load: { running: number }
  receipts: { running: number; owed: number }
}

function launch(env: Record<string, string>): ChildProcess {
  const main = fileURLToPath(new URL('../../src/local/start.ts', import.meta.url))
  return spawn(process.execPath, [main], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}
