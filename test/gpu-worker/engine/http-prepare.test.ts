/** An attached engine that fails while it counts a prompt: a proxy between the HTTP engine and a scripted one. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HttpBackend } from '../../../backends/contract/backend.ts'
import { findBackend } from '../../../backends/engines/registry.ts'
import { type Engine, EngineFailure } from '../../../gpu-worker/engine/engine.ts'
import { createHttpEngine } from '../../../gpu-worker/engine/http.ts'
import { attach } from '../../../gpu-worker/engine/launch.ts'
import { attachedRules } from '../../../gpu-worker/engine/lifecycle.ts'
import { supervisorTimes } from '../../../gpu-worker/engine/supervisor.ts'
import { type EngineAt, startEngineProcess } from '../../support/engine-at.ts'
import { chatOf } from './prompt.ts'

type Counting = 'answers' | 'hangs' | 'dies'

describe('an attached engine while it counts a prompt', () => {
  let at: EngineAt
  let proxy: Server
  let engine: Engine
  let counting: Counting = 'answers'
  let counts = 0

  beforeAll(async () => {
    at = await startEngineProcess()
    proxy = createServer(async (request, response) => {
      const isCount = request.url === '/v1/chat/completions/input_tokens'
      if (isCount) counts++
      if (isCount && counting === 'hangs') return
      if (isCount && counting === 'dies') return void request.socket.destroy()
      const parts: Buffer[] = []
      for await (const part of request) parts.push(part as Buffer)
      const method = request.method ?? 'GET'
      const answer = await fetch(`${at.url}${request.url}`, {
        method,
        headers: { 'content-type': 'application/json' },
        ...(method === 'POST' && { body: Buffer.concat(parts) }),
      })
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' })
      response.end(Buffer.from(await answer.arrayBuffer()))
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    engine = createHttpEngine({
      backend: findBackend('llama-cpp') as HttpBackend,
      ...{ url, apiKey: null, start: attach, rules: attachedRules('llama-cpp', url) },
      ...{ supervisorTimes: { ...supervisorTimes, everyMs: 60_000 }, slotsMax: 8, contextTokens: 4_096 },
      prepareMs: 400,
      saltOf: () => '',
      log: () => undefined,
    })
    await engine.start()
  })
  afterAll(async () => {
    await engine.close()
    proxy.closeAllConnections()
    proxy.close()
    await at.stop()
  })

  const prepare = (signal?: AbortSignal) =>
    engine.prepare(chatOf({ messages: [{ role: 'user', content: 'one two' }] }), 'none', signal)

  it('[EGS17] a count that the engine breaks off, or that takes too long, is refused and must not be retried elsewhere', async () => {
    counting = 'answers'
    expect(await prepare()).toMatchObject({ ok: true, promptTokens: 2 })
    counting = 'dies'
    expect(await prepare()).toMatchObject({ ok: false, code: 'preparation_failed', param: null })
    counting = 'hangs'
    expect(await prepare()).toMatchObject({
      ok: false,
      code: 'preparation_failed',
      message: expect.stringMatching(/0\.4 s/),
    })
  })

  it('[EGS17] the count ends when its client leaves', async () => {
    counting = 'hangs'
    const left = new AbortController()
    const before = counts
    const counted = prepare(left.signal)
    await expect.poll(() => counts).toBeGreaterThan(before)
    left.abort()
    expect(await counted).toMatchObject({ ok: false, code: 'client_left' })
  })

  it('[EGS17] an unreachable engine has not seen the request, so another engine may try it', async () => {
    proxy.closeAllConnections()
    await new Promise((resolve) => proxy.close(resolve))
    await expect(prepare()).rejects.toThrow(EngineFailure)
  })
})
