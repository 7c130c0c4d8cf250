/** Invalid keys, hostile bodies and texts, and routes without a key. */

import { createExecutionContext, runDurableObjectAlarm, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import { chunkWriter } from '../../backends/model/chunk.ts'
import { preludeLine } from '../../backends/wire/prelude.ts'
import { app } from '../../src/app.ts'
import type { Env } from '../../src/env.ts'
import { testBeat, testEnrolment } from '../support/fleet.ts'
import { firstKey, makeReceipt, openKey, openTenant, operate, sealBy, send } from './client.ts'
import { fetchGateway } from './gateway.ts'

const model = 'tramontane-tiny'
const hello = [{ role: 'user', content: 'hello' }]
const realFetch = globalThis.fetch

afterEach(() => {
  globalThis.fetch = realFetch
})

/** Sends a request and records its calls to objects. */
async function counted(method: string, path: string, key: string, body?: string, headers: Record<string, string> = {}) {
  const calls: string[] = []
  const namespace = (of: { getByName(name: string): object }, name: string) => ({
    getByName: (id: string) =>
      new Proxy(Object.create(null) as object, {
        get:
          (_, called: string) =>
          // biome-ignore lint/suspicious/noExplicitAny: any method of any object.
          (...args: any[]) => {
            calls.push(`${name}.${called}`)
            // biome-ignore lint/suspicious/noExplicitAny: any method of any object.
            return (of.getByName(id) as any)[called](...args)
          },
      }),
  })
  const counting = {
    ...env,
    TENANT: namespace(env.TENANT, 'tenant'),
    FLEET: namespace(env.FLEET, 'pool'),
    RESPONSES: namespace(env.RESPONSES, 'answers'),
  } as unknown as Env
  const request = new Request(`https://gateway.test${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    ...(body !== undefined && { body }),
  })
  const context = createExecutionContext()
  const answer = await app.fetch(request, counting, context)
  const text = await answer.text()
  await waitOnExecutionContext(context)
  return { status: answer.status, text, calls, headers: answer.headers }
}

const response = `resp_${'a'.repeat(32)}`
const kept = { previous_response_id: response }
const keyRoutes: [string, string, object?][] = [
  ['POST', '/v1/chat/completions', { model, messages: hello }],
  ['POST', '/v1/chat/completions', { wrong: true }],
  ['POST', '/v1/messages', { model, messages: hello, max_tokens: 5 }],
  ['POST', '/mistral/v1/chat/completions', { model, messages: hello }],
  ['POST', '/v1/responses', { model, input: 'hello' }],
  ['POST', '/v1/responses', { model, input: 'hello', ...kept }],
  ['POST', '/v1/messages/count_tokens', { model, messages: hello }],
  ['POST', '/v1/responses/input_tokens', { model, input: 'hello', ...kept }],
  ['GET', '/v1/models'],
  ['GET', `/v1/models/${model}`],
  ['GET', '/mistral/v1/models'],
  ['GET', `/mistral/v1/models/${model}`],
  ['GET', `/v1/responses/${response}`],
  ['DELETE', `/v1/responses/${response}`],
  ['GET', `/v1/responses/${response}/input_items`],
  ['GET', '/v1/usage'],
  ['GET', '/v1/limits'],
  ['GET', '/v1/keys'],
  ['POST', '/v1/keys', { name: 'x' }],
]

describe('keys', () => {
  it('[KEYX1] a revoked or expired key is refused with 401 on every route, after one call to an object', async () => {
    await openTenant('gone')
    const revoked = await openKey('gone', { role: 'owner' })
    const expired = await openKey('gone', { role: 'owner', expiresAt: Date.now() + 1_500 })
    await operate('DELETE', `/admin/tenants/gone/keys/${revoked.keyId}`)
    await scheduler.wait(1_500)
    for (const key of [revoked, expired]) {
      for (const [method, path, body] of keyRoutes) {
        for (const headers of [{}, { 'idempotency-key': 'a', 'anthropic-version': '1' }]) {
          const answer = await counted(method, path, key.apiKey, body && JSON.stringify(body), headers)
          expect(answer.status, `${method} ${path}`).toBe(401)
          expect(answer.calls.length, `${method} ${path}: ${answer.calls}`).toBe(1)
        }
      }
    }
  })

  it('[KEYX2] a key that is revoked while an isolate remembers it gets 401 at its next request, even with a wrong body', async () => {
    await openTenant('known')
    const { keyId, apiKey } = await openKey('known')
    const path = '/v1/chat/completions'
    const good = JSON.stringify({ model, messages: hello })
    expect((await counted('POST', path, apiKey, good)).calls.slice(0, 2)).toEqual(['tenant.identify', 'tenant.admit'])
    // The isolate now remembers the key: one call.
    expect((await counted('POST', path, apiKey, good)).calls[0]).toBe('tenant.admit')
    await operate('DELETE', `/admin/tenants/known/keys/${keyId}`)
    for (const body of ['{', '{}', JSON.stringify({ model: 'none', messages: hello }), good]) {
      const answer = await counted('POST', path, apiKey, body)
      expect(answer.status, body).toBe(401)
      expect(answer.calls.length).toBe(1)
    }
  })

  it('[KEYX3] for a refused key neither a large body nor a growing one is held or parsed', async () => {
    await openTenant('large')
    const { keyId, apiKey } = await openKey('large')
    const small = JSON.stringify({ model, messages: hello })
    await counted('POST', '/v1/chat/completions', apiKey, small)
    await operate('DELETE', `/admin/tenants/large/keys/${keyId}`)
    // The isolate still remembers the key. The body is not JSON, so parsing it would return 400.
    const answer = await counted('POST', '/v1/chat/completions', apiKey, 'x'.repeat(2_000_000))
    expect(answer).toMatchObject({ status: 401, calls: ['tenant.identify'] })
    let sent = 0
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 64 * 1024
        controller.enqueue(new Uint8Array(64 * 1024).fill(0x20))
        if (sent > 8_000_000) controller.close()
      },
    })
    const request = new Request('https://gateway.test/v1/chat/completions', {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}` },
      body: stream,
    })
    const context = createExecutionContext()
    expect((await app.fetch(request, env as unknown as Env, context)).status).toBe(401)
    expect(sent).toBeLessThan(2 * budgets.bodyLargeBytes.value)
    await waitOnExecutionContext(context)
  })

  it('[KEYX4] a suspended tenant gets 403 on every route that asks the model or shows its models', async () => {
    await openTenant('still')
    const { apiKey } = await openKey('still')
    await operate('PATCH', '/admin/tenants/still', { status: 'suspended' })
    for (const [method, path, body] of keyRoutes) {
      if (path === '/v1/usage' || path === '/v1/limits') continue
      const answer = await counted(method, path, apiKey, body && JSON.stringify(body))
      expect(answer.status, `${method} ${path}`).toBe(403)
    }
  })

  it('[KEYX5] an answer that is stored for one key is never returned to another key of its tenant', async () => {
    await openTenant('twins')
    const keys = [
      await openKey('twins'),
      await openKey('twins'),
      await openKey('twins', { models: ['mistral-small-4'] }),
    ]
    const headers = { 'idempotency-key': 'same' }
    const body = JSON.stringify({ model, messages: hello, max_tokens: 5 })
    const post = (apiKey: string) => counted('POST', '/v1/chat/completions', apiKey, body, headers)
    await withWorker(async () => {
      const first = await post(keys[0]?.apiKey ?? '')
      expect(first.status).toBe(200)
      const again = await post(keys[0]?.apiKey ?? '')
      expect(again).toMatchObject({ status: 200, text: first.text })
      expect(again.headers.get('idempotency-replayed')).toBe('true')
      expect(again.calls).toContain('tenant.takeRates')
      const other = await post(keys[1]?.apiKey ?? '')
      expect(other.headers.get('idempotency-replayed')).toBeNull()
      expect(other.calls).toContain('tenant.admit')
      expect((await post(keys[2]?.apiKey ?? '')).status).toBe(403)
      // A key that has lost the model gets no answer, not even its own stored one.
      await operate('PATCH', `/admin/tenants/twins/keys/${keys[0]?.keyId}`, { models: ['mistral-small-4'] })
      expect((await post(keys[0]?.apiKey ?? '')).status).toBe(403)
      await operate('PATCH', `/admin/tenants/twins/keys/${keys[0]?.keyId}`, {
        models: null,
        limits: { requestsPerMinute: 1 },
      })
      const statuses = [(await post(keys[0]?.apiKey ?? '')).status, (await post(keys[0]?.apiKey ?? '')).status]
      expect(statuses).toContain(429)
    })
  })
})

async function enrolHere(workerId: string): Promise<void> {
  await env.FLEET.getByName('fleet').enrol(testEnrolment(workerId, { models: [model] }), undefined)
}

let lastSentAt = 0

/** Sends a heartbeat that the fleet accepts. */
async function beatHere(workerId: string, state: 'ready' | 'gone'): Promise<void> {
  lastSentAt = Math.max(Date.now(), lastSentAt + 1)
  const beat = testBeat(workerId, { model, sentAt: lastSentAt, state, slotsMax: 64 })
  expect((await env.FLEET.getByName('fleet').heartbeat(beat, 1)).status).toBe(200)
}

/** Replaces the edge's fetch by a worker that answers any request. */
async function withWorker(work: () => Promise<void>, warnings: string[] = []): Promise<void> {
  await enrolHere('wh')
  const beat = (state: 'ready' | 'gone') => beatHere('wh', state)
  await beat('ready')
  globalThis.fetch = (async (_: unknown, init: RequestInit) => {
    const { stream } = JSON.parse(new TextDecoder().decode(init.body as Uint8Array))
    const counts = { promptTokens: 5, cachedTokens: 0, outputTokens: 3, reasoningTokens: 0 }
    const head = {
      id: 'c',
      created: 1,
      model,
      effort: { asked: undefined, effective: 'none' as const },
      rates: { inputNano: 1, cachedNano: 1, outputNano: 1 },
    }
    const chunks = chunkWriter(head, false)
    const usage = {
      prompt_tokens: 5,
      completion_tokens: 3,
      total_tokens: 8,
      prompt_tokens_details: { cached_tokens: 0 },
    }
    const more = {
      completion_tokens_details: { reasoning_tokens: 0 },
      reasoning_effort: 'none',
      reasoning_effort_asked: null,
    }
    const answer = {
      id: 'c',
      choices: [{ index: 0, message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop' }],
      usage: { ...usage, ...more },
    }
    const text = stream
      ? chunks.role() + chunks.text('content', 'hi') + chunks.end('stop', counts)
      : JSON.stringify(answer)
    return new Response(preludeLine({ kind: 'prepared', promptTokens: 5, warnings }) + text, {
      headers: { 'content-type': stream ? 'text/event-stream' : 'application/json' },
    })
  }) as typeof fetch
  try {
    await work()
  } finally {
    await beat('gone')
  }
}

const headerBytes = (headers: Headers) =>
  [...headers].reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0)
const clean = (headers: Headers) => {
  for (const [name, value] of headers) expect(value, name).toMatch(/^[\x20-\x7e]*$/)
  expect(headerBytes(headers)).toBeLessThan(8_000)
}

describe('texts of clients and workers', () => {
  it('[HOST1] every answer has printable headers of less than 8 kB, for any names of items, tools and blocks', async () => {
    await openTenant('names')
    const { apiKey } = await openKey('names')
    const hostile = ['x\r\nset-cookie: a=b', 'a\0b', 'größe 中 😀', '\ud800', 'k'.repeat(100_000), '"; drop', '\u2028']
    const user = { role: 'user', content: 'hello' }
    const types = [...hostile, ...Array.from({ length: 2_000 }, (_, index) => `type_${index}_${'x'.repeat(50)}`)]
    const bodies: [string, object][] = [
      ['/v1/responses', { input: [...types.map((type) => ({ type })), user] }],
      ['/v1/responses', { input: [user], tools: hostile.map((type) => ({ type })) }],
      [
        '/v1/messages',
        { max_tokens: 5, messages: [{ role: 'user', content: types.slice(0, 3_000).map((type) => ({ type })) }] },
      ],
      ['/v1/chat/completions', { messages: [user], tools: hostile.map((type) => ({ type })) }],
    ]
    await withWorker(async () => {
      for (const [path, body] of bodies) {
        for (const stream of [true, false]) {
          const answer = await counted('POST', path, apiKey, JSON.stringify({ model, ...body, stream }))
          expect(answer.status, `${path} ${answer.text.slice(0, 200)}`).toBe(200)
          expect(answer.headers.get('set-cookie')).toBeNull()
          clean(answer.headers)
        }
      }
    }, ['w'.repeat(3_000), 'top_k: ignored'])
    expect(await operate('GET', '/admin/tenants/names')).toMatchObject({ openReservations: expect.any(Number) })
  })

  it('[HOST2] the message and the param of a refusal are bounded and have no control characters', async () => {
    await openTenant('lines')
    const { apiKey } = await openKey('lines')
    const name = `a\r\n\0${'k'.repeat(15_000)}`
    const bodies: [string, object][] = [
      ['/v1/chat/completions', { model: name.slice(0, 250), messages: hello }],
      [
        '/v1/chat/completions',
        { model, messages: hello, tools: [{ type: 'function', function: { name: 'f', parameters: 5 } }] },
      ],
      ['/v1/responses', { model, input: 'a', metadata: { [name]: 5 } }],
      ['/v1/responses', { model, input: [{ type: 'item_reference', id: name.slice(0, 250) }] }],
      ['/v1/responses', { model, input: 'a', previous_response_id: name.slice(0, 120) }],
      ['/v1/messages', { model, max_tokens: 5, messages: [{ role: name, content: 'a' }] }],
      ['/v1/keys', { [name]: 5 }],
    ]
    for (const [path, body] of bodies) {
      const answer = await counted('POST', path, apiKey, JSON.stringify(body))
      expect(answer.status, path).toBeGreaterThanOrEqual(400)
      expect(answer.status, path).toBeLessThan(500)
      expect(answer.text.length, path).toBeLessThan(6_000)
      const said = JSON.parse(answer.text)
      const { message, param } = said.error
      expect(message.length).toBeLessThanOrEqual(1_000)
      expect([...message, ...(param ?? '')].every((each) => each >= ' ' && each !== '\x7f')).toBe(true)
      expect((param ?? '').length).toBeLessThanOrEqual(256)
      clean(answer.headers)
    }
  })
})

describe('bodies', () => {
  it('[HOST3] every route that reads a body refuses too many values, too deep nesting and too long names', async () => {
    await openTenant('shapes')
    const { apiKey } = await openKey('shapes', { role: 'owner' })
    const paths = ['/v1/chat/completions', '/v1/responses', '/v1/messages', '/mistral/v1/chat/completions', '/v1/keys']
    const counts = [
      '/v1/messages/count_tokens',
      '/v1/responses/input_tokens',
      '/internal/receipts',
      '/internal/heartbeat',
    ]
    const shapes: [string, number, RegExp][] = [
      [`[${'[],'.repeat(300_000)}[]]`, 413, /more than 65536 values/],
      [`{"a":${'['.repeat(200_000)}`, 400, /deeper than 128 levels/],
      [`{"${'k'.repeat(20_000)}":1}`, 400, /name of a field/],
      ['{"a":1', 400, /not JSON/],
      ['\ufeff{"a":1', 400, /not JSON/],
    ]
    for (const path of [...paths, ...counts, '/admin/tenants']) {
      for (const [body, status, says] of shapes) {
        const key = path.startsWith('/admin') ? firstKey : apiKey
        const answer = await counted('POST', path, key, body)
        expect(answer.status, `${path} ${body.slice(0, 20)}`).toBe(status)
        expect(answer.text).toMatch(says)
      }
    }
  })

  it('[HOST4] a request with a refused body takes one request of the rates', async () => {
    await openTenant('rates', { limits: { requestsPerMinute: 3 } })
    const { apiKey } = await openKey('rates')
    const statuses: number[] = []
    for (let n = 0; n < 5; n++) statuses.push((await counted('POST', '/v1/chat/completions', apiKey, '{')).status)
    expect(statuses).toEqual([400, 400, 400, 429, 429])
  })

  it('[HOST5] fields named __proto__ or constructor change nothing', async () => {
    await openTenant('proto')
    const { apiKey } = await openKey('proto')
    const hostile = `{"model":"${model}","messages":[{"role":"user","content":"a"}],"__proto__":{"stream":true},"constructor":5,"tools":[{"type":"function","function":{"name":"f","parameters":{"__proto__":{"a":1},"type":"object"}}}],"model":"none"}`
    const answer = await counted('POST', '/v1/chat/completions', apiKey, hostile)
    // The last of two fields with one name counts.
    expect(answer).toMatchObject({ status: 404 })
    expect(({} as { stream?: boolean }).stream).toBeUndefined()
  })

  it('[HOST6] an operator’s body over 1 MiB and a body to be counted over 8 MiB return 413', async () => {
    await openTenant('bounds')
    const { apiKey } = await openKey('bounds')
    const large = (bytes: number) => JSON.stringify({ a: 'x'.repeat(bytes) })
    expect((await counted('POST', '/admin/tenants', firstKey, large(1_100_000))).status).toBe(413)
    expect((await counted('POST', '/v1/messages/count_tokens', apiKey, large(8_400_000))).status).toBe(413)
  })
})

describe('counting', () => {
  it('[CNTX1] counting takes one request and a tenth of the tokens from the rates, and its headers report the remaining rates', async () => {
    await openTenant('count', { limits: { requestsPerMinute: 3, tokensPerMinute: 1_000 } })
    const { apiKey } = await openKey('count')
    const ask = (content: string, path = '/v1/messages/count_tokens') =>
      counted('POST', path, apiKey, JSON.stringify({ model, messages: [{ role: 'user', content }], input: content }))
    const first = await ask('hello '.repeat(500))
    expect(first.status).toBe(200)
    expect(first.headers.get('x-ratelimit-remaining-requests')).toBe('2')
    const left = Number(first.headers.get('x-ratelimit-remaining-tokens'))
    expect(left).toBeGreaterThan(500)
    expect(left).toBeLessThan(960)
    expect(first.headers.get('anthropic-ratelimit-requests-remaining')).toBe('2')
    expect((await ask('hi', '/v1/responses/input_tokens')).status).toBe(200)
    expect((await ask('hi')).status).toBe(200)
    expect((await ask('hi')).status).toBe(429)
  })

  it('[CNTX2] if no worker counts a prompt, the answer is an upper bound and is marked as an estimate', async () => {
    await openTenant('guess')
    const { apiKey } = await openKey('guess')
    for (const content of ['hello', '0123456789'.repeat(200_000), '中'.repeat(1_000)]) {
      const body = JSON.stringify({ model, messages: [{ role: 'user', content }] })
      const answer = await counted('POST', '/v1/messages/count_tokens', apiKey, body)
      expect(answer.headers.get('x-tramontane-estimated')).toBe('true')
      const { input_tokens: tokens, estimated } = JSON.parse(answer.text)
      expect(estimated).toBe(true)
      expect(tokens).toBeGreaterThanOrEqual(new TextEncoder().encode(content).byteLength)
    }
  })

  it('[CNTX3] a prompt that silenced one worker is not sent to a second, and an invalid prompt returns 400', async () => {
    await openTenant('poison')
    const { apiKey } = await openKey('poison')
    await Promise.all([enrolHere('wa'), enrolHere('wb')])
    await Promise.all([beatHere('wa', 'ready'), beatHere('wb', 'ready')])
    const body = JSON.stringify({ model, messages: hello })
    let fetches = 0
    const answers = async (answer: () => Promise<Response>) => {
      fetches = 0
      globalThis.fetch = (async () => {
        fetches += 1
        return answer()
      }) as unknown as typeof fetch
      return counted('POST', '/v1/messages/count_tokens', apiKey, body)
    }
    const silent = await answers(() => Promise.reject(new Error('the connection was closed')))
    expect(silent).toMatchObject({ status: 200, text: expect.stringContaining('"estimated":true') })
    expect(fetches).toBe(1)
    await answers(async () => Response.json({ code: 'busy', message: 'busy' }, { status: 503 }))
    expect(fetches).toBe(2)
    const wrong = { code: 'invalid_value', message: `tools: ${'x'.repeat(5_000)}`, param: 'tools' }
    const refused = await answers(async () => Response.json(wrong, { status: 400 }))
    expect(refused.status).toBe(400)
    expect(fetches).toBe(1)
    const exact = await answers(async () => Response.json({ promptTokens: 7, estimated: false }))
    expect(JSON.parse(exact.text)).toEqual({ input_tokens: 7 })
    await Promise.all([beatHere('wa', 'gone'), beatHere('wb', 'gone')])
  })
})

describe('routes without a key', () => {
  it('[OPEN1] /healthz returns only its status, and a burst of requests calls the fleet once', async () => {
    await scheduler.wait(1_100)
    const calls: string[] = []
    for (let n = 0; n < 20; n++) {
      const answer = await counted('GET', '/healthz', '')
      calls.push(...answer.calls)
      expect(Object.keys(JSON.parse(answer.text))).toEqual(['status'])
    }
    expect(calls.length).toBeLessThanOrEqual(1)
  })

  it('[OPEN2] a reference page is rendered once per address, and a client that has it gets 304', async () => {
    for (const path of ['/docs', '/openapi.json', '/llms.txt']) {
      const first = await fetchGateway(`https://gateway.test${path}`)
      const text = await first.text()
      const etag = first.headers.get('etag') ?? ''
      expect(text).toContain('https://gateway.test')
      const again = await fetchGateway(`https://gateway.test${path}`, { headers: { 'if-none-match': etag } })
      expect(again.status).toBe(304)
      expect(await again.text()).toBe('')
      const other = await fetchGateway(`https://other.test${path}`)
      expect(await other.text()).toBe(text.replaceAll('https://gateway.test', 'https://other.test'))
      for (let n = 0; n < 40; n++) await (await fetchGateway(`https://h${n}.test${path}`)).text()
      expect(await (await fetchGateway(`https://gateway.test${path}`)).text()).toBe(text)
    }
  })

  it('[OPEN3] one call with receipts derives at most one key per fleet secret, keeps it only after it verified one, and names one worker', async () => {
    // A refused receipt raises an alert, whose object imports keys of its own once.
    const operators = env.ALERTS.getByName('operators')
    await operators.raise([])
    await runDurableObjectAlarm(operators)
    const importKey = crypto.subtle.importKey
    let imported = 0
    crypto.subtle.importKey = ((...args: Parameters<typeof importKey>) => {
      imported += 1
      return importKey.apply(crypto.subtle, args)
    }) as typeof importKey
    try {
      const forged = (kid: string) => `${btoa(JSON.stringify({ alg: 'HS256', typ: 'receipt', kid }))}.e30.AAAA`
      const post = async (receipts: string[]) => {
        imported = 0
        const answer = await fetchGateway('https://gateway.test/internal/receipts', {
          method: 'POST',
          body: JSON.stringify({ receipts }),
        })
        return answer.status
      }
      // The first call imports the gateway's own keys.
      await post([])
      expect(await post(Array.from({ length: 64 }, (_, n) => forged(`w${n}.1`)))).toBe(403)
      expect(imported).toBe(0)
      expect(await post(Array(64).fill(forged('w1.1')))).toBe(403)
      // Two imports for each of the two fleet secrets of a rotation: the secret and the worker's key.
      expect(imported).toBe(4)
      expect(await post([forged('w1.1')])).toBe(403)
      expect(imported).toBe(4)
      const receipt = (requestId: string) =>
        makeReceipt({ requestId, dispatchId: `${requestId}.1`, tenantId: 'none', workerId: 'wv' })
      const token = await sealBy('receipt', receipt('r1'), 'wv', 1)
      await post([token])
      expect(imported).toBeLessThanOrEqual(2)
      await post([token])
      expect(imported).toBe(0)
      expect(await post([token, await sealBy('receipt', receipt('r2'), 'wx', 1)])).toBe(403)
    } finally {
      crypto.subtle.importKey = importKey
    }
  })

  it('[OPEN4] a malformed path or query never returns 500', async () => {
    await openTenant('paths')
    const { apiKey } = await openKey('paths', { role: 'owner' })
    const broken = ['%E0%A4%A', '%', '%00', '%ff', '..%2f..', 'a'.repeat(8_000), '%0d%0a', encodeURIComponent('😀')]
    const tenantPaths = [
      '/v1/responses/_',
      '/v1/responses/_/input_items',
      '/v1/models/_',
      '/mistral/v1/models/_',
      '/v1/usage?from=_',
      '/v1/usage?_=1',
      '/v1/keys?after=_',
      '/v1/keys?limit=_',
      '/_',
    ]
    const operatorPaths = [
      '/admin/requests/_',
      '/admin/requests/x?tenantId=_',
      '/admin/tenants/_',
      '/admin/tenants/_/keys',
      '/admin/tenants/paths/keys/_',
      '/admin/tenants/paths/usage?group_by=_',
      '/admin/tenants/paths/requests/_',
      '/admin/audit?tenantId=_',
      '/admin/audit?before=_',
      '/admin/workers?after=_',
      '/admin/plans/_',
      '/admin/tenants?limit=_',
    ]
    for (const bad of broken) {
      for (const path of tenantPaths) {
        const answer = await counted('GET', path.replace('_', bad), apiKey)
        expect(answer.status, `${path} ${bad.slice(0, 20)}`).toBeLessThan(500)
        expect(answer.text.length).toBeLessThan(6_000)
      }
      for (const path of operatorPaths) {
        const answer = await counted('GET', path.replace('_', bad), firstKey)
        expect(answer.status, `${path} ${bad.slice(0, 20)}: ${answer.text.slice(0, 200)}`).toBeLessThan(500)
      }
      for (const [method, path] of [
        ['DELETE', '/v1/keys/_'],
        ['POST', '/v1/keys/_/rotate'],
        ['DELETE', '/v1/responses/_'],
      ] as const)
        expect(
          (await counted(method, path.replace('_', bad), apiKey)).status,
          `${method} ${bad.slice(0, 20)}`,
        ).toBeLessThan(500)
    }
    expect((await send('GET', `/admin/requests/x?tenantId=${'t'.repeat(100)}`)).body).toMatchObject({
      param: 'tenant_id',
    })
  })
})
