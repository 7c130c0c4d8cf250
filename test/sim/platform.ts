/**
 * The platform of simulated machines in place of Node's: clock, timers, network, randomness, and signatures without
 * threads. Code that runs on no machine gets Node's own. Loading this file installs it for the whole process.
 */
import nodeCrypto, { createHash, createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto'
import { Server } from 'node:http'
import { registerHooks, syncBuiltinESMExports } from 'node:module'
import timersPromises from 'node:timers/promises'
import { Machine } from './machine.ts'
import type { Random } from './random.ts'
import type { Planned } from './timeline.ts'

/** The world of this moment; worlds run one after the other. */
export interface PlatformWorld {
  random: Random
  log: (line: string) => void
  fetch: (url: URL, init: FetchInit) => Promise<Response>
  /** A worker process opens its port. */
  listens: (server: Server) => void
}

export interface FetchInit {
  method: string
  headers: Record<string, string>
  body: string | Uint8Array | undefined
  signal: AbortSignal | undefined
}

let world: PlatformWorld | undefined

export function runsIn(next: PlatformWorld | undefined): void {
  world = next
}

const nodeImmediate = setImmediate

/** Waits until everything that can happen at this moment has happened. */
export function turn(): Promise<void> {
  return new Promise((resolve) => nodeImmediate(resolve))
}

class Timer {
  planned: Planned | undefined
  cleared = false

  clear(): void {
    this.cleared = true
    if (this.planned) this.planned.cancelled = true
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }
}

function startTimer(machine: Machine, ms: number, what: string, work: () => void): Timer {
  const timer = new Timer()
  timer.planned = machine.after(ms, what, () => {
    if (!timer.cleared) work()
  })
  return timer
}

const node = { setTimeout, clearTimeout, setInterval, clearInterval, fetch, now: Date.now, random: Math.random }
const nodeTimeoutSignal = AbortSignal.timeout
const nodeDelay = timersPromises.setTimeout
const nodeListen = Server.prototype.listen

type Work = (...args: unknown[]) => void

function clear(timer: unknown, byNode: (timer: never) => void): void {
  if (timer instanceof Timer) timer.clear()
  else byNode(timer as never)
}

Object.assign(globalThis, {
  setTimeout(work: Work, ms = 0, ...args: unknown[]) {
    const machine = Machine.current
    return machine ? startTimer(machine, ms, 'timer', () => work(...args)) : node.setTimeout(work, ms, ...args)
  },
  setInterval(work: Work, ms = 0, ...args: unknown[]) {
    const machine = Machine.current
    if (!machine) return node.setInterval(work, ms, ...args)
    const timer = new Timer()
    const plan = () => {
      timer.planned = machine.after(ms, 'timer', () => {
        if (timer.cleared) return
        plan()
        work(...args)
      })
    }
    plan()
    return timer
  },
  clearTimeout: (timer: unknown) => clear(timer, node.clearTimeout),
  clearInterval: (timer: unknown) => clear(timer, node.clearInterval),
  fetch(input: string | URL, init: RequestInit = {}) {
    if (!Machine.current || !world) return node.fetch(input, init)
    return world.fetch(new URL(input), {
      method: init.method ?? 'GET',
      headers: (init.headers ?? {}) as Record<string, string>,
      body: init.body as string | Uint8Array | undefined,
      signal: init.signal ?? undefined,
    })
  },
  /** A write waits until its bytes are read, as in workerd. */
  IdentityTransformStream: class extends TransformStream {
    constructor() {
      super({}, { highWaterMark: 1 }, { highWaterMark: 0 })
    }
  },
})

Date.now = () => Machine.current?.clock.now() ?? node.now()
Math.random = () => (Machine.current && world ? world.random.next() : node.random())

const tooLate = new DOMException('too late', 'TimeoutError')

AbortSignal.timeout = (ms) => {
  const machine = Machine.current
  if (!machine) return nodeTimeoutSignal.call(AbortSignal, ms)
  const controller = new AbortController()
  startTimer(machine, ms, 'time is over', () => controller.abort(tooLate))
  return controller.signal
}

timersPromises.setTimeout = (<Value>(ms?: number, value?: Value, options?: { signal?: AbortSignal }) => {
  const machine = Machine.current
  if (!machine) return nodeDelay(ms, value, options)
  return new Promise<Value | undefined>((resolve, reject) => {
    const timer = startTimer(machine, ms ?? 0, 'delay', () => resolve(value))
    const leave = () => {
      timer.clear()
      reject(new DOMException('aborted', 'AbortError'))
    }
    if (options?.signal?.aborted) leave()
    else options?.signal?.addEventListener('abort', leave, { once: true })
  })
}) as typeof timersPromises.setTimeout

Server.prototype.listen = function (this: Server, ...args: never[]) {
  if (!Machine.current || !world) return nodeListen.apply(this, args as unknown as [number])
  const [port, , listening] = args as unknown as [number, string, () => void]
  this.address = () => ({ port, family: 'IPv4', address: '127.0.0.1' })
  world.listens(this)
  queueMicrotask(listening)
  return this
} as typeof nodeListen

const nodeUuid = nodeCrypto.randomUUID
const uuid = () => {
  const text = Buffer.from(randomBytes(16)).toString('hex')
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-')
}
const randomUUID = (() => (Machine.current && world ? uuid() : nodeUuid())) as typeof nodeUuid
nodeCrypto.randomUUID = randomUUID
syncBuiltinESMExports()

function randomBytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(Math.random() * 256))
}

const nodeValues = crypto.getRandomValues.bind(crypto)
Object.assign(Object.getPrototypeOf(crypto), {
  randomUUID,
  getRandomValues(bytes: Uint8Array) {
    if (!Machine.current || !world) return nodeValues(bytes as Uint8Array<ArrayBuffer>)
    bytes.set(randomBytes(bytes.length))
    return bytes
  },
})

type Bytes = ArrayBuffer | Uint8Array
const view = (bytes: Bytes) => (bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes))
const arrayBuffer = (bytes: Buffer) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
const secrets = new WeakMap<CryptoKey, KeyObject>()

function hmac(key: CryptoKey, data: Bytes): Buffer {
  const secret = secrets.get(key)
  if (!secret) throw new Error('the key was not imported here')
  return createHmac('sha256', secret).update(view(data)).digest()
}

/** The same functions without threads, whose order would differ between two runs. All keys are for HMAC. */
Object.assign(Object.getPrototypeOf(crypto.subtle), {
  async importKey(_format: string, secret: Bytes, algorithm: HmacImportParams, out: boolean, uses: KeyUsage[]) {
    const key = createSecretKey(view(secret))
    const imported = key.toCryptoKey(algorithm as never, out, uses as never)
    secrets.set(imported as CryptoKey, key)
    return imported
  },
  sign: async (_algorithm: unknown, key: CryptoKey, data: Bytes) => arrayBuffer(hmac(key, data)),
  async verify(_algorithm: unknown, key: CryptoKey, signature: Bytes, data: Bytes) {
    const own = hmac(key, data)
    return own.length === signature.byteLength && timingSafeEqual(own, view(signature))
  },
  digest: async (_algorithm: unknown, data: Bytes) => arrayBuffer(createHash('sha256').update(view(data)).digest()),
})

for (const method of ['log', 'warn', 'error', 'info'] as const) {
  const byNode = console[method]
  console[method] = (...args: unknown[]) => {
    if (Machine.current && world)
      world.log(`  ${Machine.current.name} logs: ${args.map(String).join(' ').slice(0, 300)}`)
    else byNode(...args)
  }
}

/** Modules that stand in for others: `from` is the end of the importing file's address. */
const replaced = [
  { from: '', name: 'cloudflare:workers', by: './stand-ins/workers-runtime.ts' },
  { from: '/src/docs/docs.ts', name: './generated/site.ts', by: './stand-ins/site.ts' },
  { from: '/src/chat/run-attempts.ts', name: './attempts.ts', by: './stand-ins/attempts.ts' },
  { from: '/src/tenant/tenant-object.ts', name: './group-commit.ts', by: './stand-ins/group-commit.ts' },
  { from: '/gpu-worker/worker.ts', name: './outbox.ts', by: './stand-ins/outbox.ts' },
  { from: '/gpu-worker/worker.ts', name: './media/resolver.ts', by: './stand-ins/media-reader.ts' },
]

registerHooks({
  resolve(specifier, context, nextResolve) {
    const found = replaced.find(({ from, name }) => specifier === name && context.parentURL?.endsWith(from))
    if (!found) return nextResolve(specifier, context)
    return { url: new URL(found.by, import.meta.url).href, format: 'module-typescript', shortCircuit: true }
  },
})
