/**
 * A real engine over HTTP: the whole product with llama.cpp's own server and the tiny model.
 * TRAMONTANE_TEST_LLAMA_SERVER names that program; without it these tests are skipped, and a scripted engine covers the
 * same paths (chaos.test.ts, and test/gpu-worker/engine/http.test.ts).
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readChat } from '../../backends/model/chat.ts'
import { createEmbeddedEngine } from '../../gpu-worker/engine/embedded.ts'
import { launch } from '../../gpu-worker/engine/launch.ts'
import { childrenOf } from '../support/engine-at.ts'
import {
  eventually,
  freePort,
  healthOf,
  isZero,
  metricsKey,
  type Product,
  startProduct,
  zero,
} from '../support/product.ts'

const program = process.env.TRAMONTANE_TEST_LLAMA_SERVER
const modelPath = fileURLToPath(new URL('../../gpu-worker/model/tiny.gguf', import.meta.url))
const settings = {
  TRAMONTANE_BACKEND: 'llama-cpp',
  TRAMONTANE_SLOTS: '4',
  TRAMONTANE_THREADS: '1',
}
const endless = {
  type: 'json_schema',
  json_schema: { name: 'l', schema: { type: 'array', items: { type: 'integer' }, minItems: 900 } },
} as const

interface RequestRecord {
  reservation: string
  entries: {
    kind: string
    estimated: number | null
    promptTokens: number | null
    outputTokens: number | null
    reasoningTokens: number | null
  }[]
}

async function embeddedCount(messages: { role: string; content: string }[]): Promise<number> {
  const options = {
    modelPath,
    slotsMax: 1,
    contextTokens: 512,
    batchTokens: 256,
    gpu: false,
    log: () => undefined,
  } as const
  const engine = createEmbeddedEngine(options)
  await engine.start()
  const read = readChat({ model: 'tramontane-tiny', messages })
  const prepared = read.ok ? await engine.prepare(read.chat, 'high') : read
  await engine.close()
  if (!prepared.ok) throw new Error(prepared.message)
  return prepared.promptTokens
}

describe.skipIf(!program)('llama-server', () => {
  let product: Product
  beforeAll(async () => {
    product = await startProduct({ env: { ...settings, TRAMONTANE_ENGINE_PROGRAM: program ?? '' } })
  })
  afterAll(async () => {
    await product?.stop()
  })

  const entryOf = async (requestId: string) => {
    const record = await eventually(
      () => product.admin<RequestRecord>('GET', `/admin/tenants/demo/requests/${requestId}`),
      ({ reservation }) => reservation === 'posted',
    )
    return record.entries.find(({ kind }) => kind === 'post')
  }

  it('[LLS1] with llama-server launched by the worker, prompt and output tokens agree with the ledger, and reasoning is separate and counted', async () => {
    const messages = [{ role: 'user' as const, content: 'What is 478 + 356?' }]
    const { data, response } = await product
      .client()
      .chat.completions.create({
        model: product.demo().model,
        messages,
        reasoning_effort: 'high',
        temperature: 0,
        max_tokens: 200,
      })
      .withResponse()
    expect(response.headers.get('x-tramontane-pool')).toBe('throughput')
    expect(data.choices[0]?.message).toMatchObject({ content: expect.stringMatching(/\d{3}/) })
    expect(JSON.stringify(data.choices[0]?.message)).toMatch(/"reasoning_content":"\w/)
    // The embedded engine, with our own template and tokenizer, counts the same tokens for the same file.
    const promptTokens = await embeddedCount(messages)
    expect(data.usage?.prompt_tokens).toBe(promptTokens)
    const entry = await entryOf(response.headers.get('x-request-id') ?? '')
    const outputTokens = data.usage?.completion_tokens
    expect(entry).toMatchObject({ promptTokens, outputTokens, estimated: 0 })
    expect(entry?.reasoningTokens).toBe(data.usage?.completion_tokens_details?.reasoning_tokens)
    expect(entry?.reasoningTokens).toBeGreaterThan(10)
  })

  it('[LLS2] a client that disconnects stops llama-server and pays for the generated tokens', async () => {
    const stream = await product.client().chat.completions.create({
      ...{ model: product.demo().model, stream: true, max_tokens: 3_000, temperature: 1, response_format: endless },
      messages: [{ role: 'user', content: 'Tell me a story about a fox.' }],
    })
    let requestId = ''
    let chunks = 0
    for await (const chunk of stream) {
      requestId = chunk.id.replace('chatcmpl-', 'req_')
      chunks += 1
      if (chunks === 40) break
    }
    const entry = await entryOf(requestId)
    expect(entry?.estimated).toBe(0)
    expect(entry?.outputTokens).toBeGreaterThanOrEqual(38)
    expect(entry?.outputTokens).toBeLessThan(2_000)
    expect(await eventually(product.counters, isZero)).toEqual(zero)
  })

  it('[LLS3] a killed llama-server is restarted under the same worker', async () => {
    const worker = product.demo().pids.latency
    const engine = childrenOf(worker).flatMap(childrenOf)[0]
    if (engine === undefined) throw new Error('the worker has no engine process')
    process.kill(engine, 'SIGKILL')
    const ask = () =>
      product.client().chat.completions.create({
        ...{ model: product.demo().model, max_tokens: 4 },
        messages: [{ role: 'user', content: 'Hello!' }],
      })
    const again = () => Promise.resolve(childrenOf(worker).flatMap(childrenOf)[0] ?? engine)
    expect(await eventually(again, (pid) => pid !== engine)).not.toBe(engine)
    expect((await eventually(() => ask().catch(() => undefined), Boolean))?.choices[0]?.message.content).toMatch(/\w/)
    expect(product.demo().pids.latency).toBe(worker)
  })

  it('[LLS4] a worker attaches to a running llama-server, takes over its context and slots, and does not end it', async () => {
    const port = await freePort()
    const args = [
      '--model',
      modelPath,
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
      '--ctx-size',
      '2048',
      '--parallel',
      '2',
      '--no-kv-unified',
      '--jinja',
      '--metrics',
      '--threads',
      '1',
    ]
    const engine = launch({ command: program ?? '', args, env: {} }, { graceMs: 2_000, line: () => undefined })
    const { workerKey } = await product.admin<{ workerKey: string }>('POST', '/admin/workers', {
      workerId: 'attached',
      url: 'http://127.0.0.1:*',
    })
    const worker = fork(
      fileURLToPath(new URL('../../gpu-worker/main.ts', import.meta.url)),
      ['--engine-url', `http://127.0.0.1:${port}/v1`],
      {
        env: {
          ...{ ...process.env, ...settings, TRAMONTANE_HOME: product.home, TRAMONTANE_MODEL_ID: product.demo().model },
          ...{ TRAMONTANE_METRICS_KEY: metricsKey },
          ...{ TRAMONTANE_WORKER_KEY: workerKey, TRAMONTANE_EDGE_URL: new URL(product.demo().baseUrl).origin },
        },
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      },
    )
    const { url } = await new Promise<{ url: string }>((resolve) => {
      worker.once('message', (message) => resolve(message as unknown as { url: string }))
    })
    const health = await healthOf(url)
    expect(health).toMatchObject({ status: 'ready', engine: 'llama-cpp', contextTokens: 1_024, slotsMax: 2 })
    const pools = await product.admin<Record<string, { workers: { workerId: string; slots: number }[] }>>(
      'GET',
      '/admin/pools',
    )
    expect(pools.latency?.workers.find(({ workerId }) => workerId === 'attached')?.slots).toBe(2)
    const gone = new Promise((resolve) => worker.once('exit', resolve))
    worker.kill('SIGTERM')
    expect(await gone).toBe(0)
    // The worker did not start this engine, so it must not end it.
    expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200)
    engine.end()
    await engine.exited
  })
})
