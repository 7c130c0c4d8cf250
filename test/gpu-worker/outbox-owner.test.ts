/** Ownership of a receipts folder, with real processes: one worker started twice, and an owner that is killed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { dispatchPath, dispatchTtlMs } from '../../backends/wire/dispatch.ts'
import { heartbeatPath } from '../../backends/wire/heartbeat.ts'
import { Receipt, ReceiptsCall } from '../../backends/wire/receipt.ts'
import { digest, seal, sealKey, unseal } from '../../backends/wire/seal.ts'
import { formatWorkerKey } from '../../backends/wire/worker-key.ts'
import { openOutboxDatabase } from '../../gpu-worker/outbox.ts'
import { outboxFolder } from '../../gpu-worker/outbox-lock.ts'
import { type EngineAt, startEngineProcess } from '../support/engine-at.ts'
import { testDispatch } from '../support/fleet.ts'
import { eventually, freePort } from '../support/product.ts'

const program = fileURLToPath(new URL('../../gpu-worker/main.ts', import.meta.url))
const lockModule = new URL('../../gpu-worker/outbox-lock.ts', import.meta.url).href
const secret = new Uint8Array(32).fill(5)
const workerKey = formatWorkerKey({ workerId: 'gpu-1', epoch: 1, secret })

interface Started {
  process: ChildProcess
  output: () => string
  code: Promise<number | null>
}

const started: ChildProcess[] = []

function run(args: string[], env: Record<string, string> = {}): Started {
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  started.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const code = new Promise<number | null>((resolve) => child.on('close', (exit) => resolve(exit)))
  return { process: child, output: () => output, code }
}

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
})

/** Each test starts several programs, and the machine may be loaded. */
const timeout = 120_000

describe('the owner of a receipts folder', { timeout }, () => {
  it('[OBX1] is one process: a second reports that and exits, and kill -9 of the owner frees the folder', async () => {
    const folder = join(mkdtempSync(join(tmpdir(), 'tramontane-owner-')), 'workers', 'gpu-1')
    const code = `const { lockFolder } = await import(${JSON.stringify(lockModule)})
      try { lockFolder(${JSON.stringify(folder)}); console.log('mine'); setInterval(() => {}, 1000) }
      catch (error) { console.log(error.message); process.exit(1) }`
    const owner = () => run(['--input-type=module', '-e', code])
    const first = owner()
    await eventually(async () => first.output(), Boolean)
    expect(first.output()).toBe('mine\n')
    const files = () => readdirSync(folder).sort()
    const before = files()
    const second = owner()
    expect(await second.code).toBe(1)
    expect(second.output()).toBe(
      `the receipts folder ${folder} is in use by another worker process (pid ${first.process.pid}). Stop it, or set TRAMONTANE_HOME to another folder\n`,
    )
    expect(files()).toEqual(before)
    first.process.kill('SIGKILL')
    await first.code
    const third = owner()
    await eventually(async () => third.output(), Boolean)
    expect(third.output()).toBe('mine\n')
  })
})

describe('a worker that is started twice', { timeout }, () => {
  let engine: EngineAt
  let edge: Server
  let key: CryptoKey
  let home: string
  let receipts: Receipt[]

  beforeEach(async () => {
    key = await sealKey(secret)
    home = mkdtempSync(join(tmpdir(), 'tramontane-twice-'))
    receipts = []
    engine = await startEngineProcess({ tokens: 400, tokenMs: 100 })
    edge = createServer((request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', async () => {
        if (request.url === heartbeatPath) return void response.writeHead(204).end()
        const call = ReceiptsCall.parse(JSON.parse(Buffer.concat(parts).toString()))
        const opened = await Promise.all(call.receipts.map((token) => unseal('receipt', token, key, Receipt)))
        const good = opened.flatMap((each) => (each.kind === 'read' ? [each.claims] : []))
        receipts.push(...good)
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ done: good.map(({ dispatchId }) => dispatchId), refused: [] }))
      })
    })
    await new Promise<void>((resolve) => edge.listen(0, '127.0.0.1', resolve))
  })

  afterEach(async () => {
    await engine.stop()
    edge.closeAllConnections()
    edge.close()
  })

  const worker = (port: number) =>
    run([program, '--backend', 'llama-cpp', '--engine-url', engine.url], {
      TRAMONTANE_WORKER_KEY: workerKey,
      TRAMONTANE_EDGE_URL: `http://127.0.0.1:${(edge.address() as AddressInfo).port}`,
      TRAMONTANE_HOME: home,
      TRAMONTANE_WORKER_PORT: String(port),
      TRAMONTANE_MODEL_ID: 'tramontane-tiny',
    })

  async function send(url: string, requestId: string): Promise<string> {
    const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hello there' }], stream: true })
    const bytes = new TextEncoder().encode(body) as Uint8Array<ArrayBuffer>
    const now = Date.now()
    const dispatch = testDispatch(requestId, {
      ...{ workerId: 'gpu-1', bodyDigest: await digest(bytes), costNanoMax: 1_000_000, promptTokensMax: 500 },
      ...{ outputTokensMax: 500, issuedAt: now, expiresAt: now + dispatchTtlMs },
    })
    const authorization = `Bearer ${await seal('dispatch', dispatch, 'gpu-1.1', key)}`
    const response = await fetch(url + dispatchPath, { method: 'POST', headers: { authorization }, body })
    return response.text()
  }

  it('[OBX2] on the same or another port, leaves the running answers and receipts of the first unchanged', async () => {
    const port = await freePort()
    const first = worker(port)
    const ready = await eventually(
      async () => first.output(),
      (text) => text.includes('ready on'),
      30_000,
    )
    expect(ready, first.output()).toBeTruthy()
    const answers = ['a', 'b', 'c'].map((id) => send(`http://127.0.0.1:${port}`, id))
    await eventually(
      async () => (await engine.seen()).open,
      (open) => open === 3,
    )
    const inUse = new RegExp(
      `^worker: the receipts folder .* is in use by another worker process \\(pid ${first.process.pid}\\)`,
    )
    for (const again of [port, 0]) {
      const second = worker(again)
      expect(await second.code).toBe(1)
      expect(second.output()).toMatch(inUse)
    }
    expect((await engine.seen()).open, 'the answers are still running').toBe(3)
    await engine.say({ tokenMs: 0 })
    for (const text of await Promise.all(answers)) expect(text).toContain('[DONE]')
    await eventually(
      async () => receipts.length,
      (count) => count >= 3,
    )
    expect(receipts.map(({ dispatchId }) => dispatchId).sort()).toEqual(['a.1', 'b.1', 'c.1'])
    for (const receipt of receipts)
      expect(receipt).toMatchObject({ outcome: 'finished', estimated: false, counts: { outputTokens: 400 } })
    expect(first.output()).not.toContain('ERROR')
  })

  it('[OBX8] the receipts command lists receipts while the worker runs, and resend makes refused ones pending again', async () => {
    const first = worker(0)
    await eventually(
      async () => first.output(),
      (text) => text.includes('ready on'),
      30_000,
    )
    const db = openOutboxDatabase(outboxFolder(home, 'gpu-1'))
    const receipt = (requestId: string) => {
      const { rates, ...named } = testDispatch(requestId, { workerId: 'gpu-1' })
      const counts = { promptTokens: 7, cachedTokens: 0, outputTokens: 3, reasoningTokens: 0 }
      const terms = { ...{ costNanoMax: 1_000, promptTokensMax: 10, outputTokensMax: 10, issuedAt: 1 }, rates }
      const end = { outcome: 'finished', finishReason: 'stop', estimated: false, startedAt: 1, endedAt: 2 }
      const { dispatchId, tenantId, keyId, workerId, model, pool, effort, proof } = named
      const names = { requestId, dispatchId, tenantId, keyId, workerId, model, pool, effort, proof }
      return JSON.stringify(
        Receipt.parse({ ...names, ...end, counts, costNano: 10, firstTokenMs: 1, engine: 'e', terms }),
      )
    }
    const insert = db.prepare('INSERT INTO refused (dispatch_id, dispatch, receipt, reason) VALUES (?, ?, ?, ?)')
    for (const id of ['a', 'b', 'c']) insert.run(`${id}.1`, '{}', receipt(id), `proof: wrong\u001b[2J ${id}`)
    db.close()
    const command = async (...args: string[]) => {
      const environment = { TRAMONTANE_WORKER_KEY: workerKey, TRAMONTANE_HOME: home }
      const ran = run([program, 'receipts', ...args], environment)
      return { code: await ran.code, output: ran.output() }
    }
    const listed = await command()
    expect(listed.code).toBe(0)
    expect(listed.output.split('\n').slice(0, 3)).toEqual(
      ['c', 'b', 'a'].map(
        (id) => `${id}.1  refused  t  finished  7 in, 3 out  10 nano-dollars  proof: wrong?[2J ${id}`,
      ),
    )
    expect(await command('resend', 'b.1')).toEqual({ code: 0, output: '1 receipt is pending again\n' })
    await eventually(
      async () => receipts.length,
      (count) => count === 1,
    )
    expect(receipts.map(({ dispatchId }) => dispatchId)).toEqual(['b.1'])
    expect(await command('resend', 'none.1')).toMatchObject({ code: 1, output: expect.stringContaining('none.1') })
    expect(await command('again')).toMatchObject({ code: 1, output: expect.stringContaining('usage:') })
    expect(await command('resend', 'all')).toEqual({ code: 0, output: '2 receipts are pending again\n' })
    await eventually(
      async () => receipts.length,
      (count) => count === 3,
    )
    expect(await command()).toEqual({ code: 0, output: 'no receipt is pending or refused\n' })
  })
})
