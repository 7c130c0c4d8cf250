/// <reference types="@cloudflare/vitest-plugin/types" />

import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { app } from '../../src/app.ts'
import { noPreviousTurns } from '../../src/dialects/dialect.ts'
import { mistral } from '../../src/dialects/mistral/dialect.ts'
import { chatCompletions } from '../../src/dialects/openai-chat/dialect.ts'
import { audienceOf, documentedPath, openapi } from '../../src/docs/openapi.ts'
import { referencePage } from '../../src/docs/reference-page.ts'
import { routes } from '../../src/routes.ts'
import { send } from './client.ts'
import { fetchGateway } from './gateway.ts'

describe('the reference', () => {
  it('[REF1] every route is declared once, with a name of its own', () => {
    const served = app.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method.toLowerCase()} ${path.replace(/:(\w+)(?:\{[^}]*\})?/g, '{$1}')}`)
    const declared = routes.map(({ method, path }) => `${method} ${path}`)
    expect([...new Set(served)].sort()).toEqual([...declared].sort())
    expect(new Set(declared).size).toBe(declared.length)
    expect(new Set(routes.map(({ id }) => id)).size).toBe(routes.length)
    for (const { id } of routes) expect(id).toMatch(/^[a-z]+([A-Z][a-z]*)+$/)
  })

  it('[REF6] a method that a path does not have returns 405 with the methods that it has, in the dialect of the path', async () => {
    const cases: [string, string, string][] = [
      ['PUT', '/v1/chat/completions', 'POST'],
      ['TRACE', '/v1/models', 'GET, HEAD'],
      ['PUT', '/v1/keys/k', 'DELETE, PATCH'],
      ['PUT', '/admin/tenants/x', 'DELETE, GET, HEAD, PATCH'],
      ['OPTIONS', '/healthz', 'GET, HEAD'],
      ['POST', '/docs/quickstart', 'GET, HEAD'],
      ['GET', '/v1/messages', 'POST'],
    ]
    for (const [method, path, allow] of cases) {
      const response = await app.request(`https://gateway.example${path}`, { method }, env)
      expect([method, path, response.status, response.headers.get('allow')]).toEqual([method, path, 405, allow])
      expect(await response.json()).toMatchObject(
        path === '/v1/messages' ? { type: 'error' } : { code: 'method_not_allowed' },
      )
      expect(response.headers.get('x-request-id')).toMatch(/^req_/)
    }
    expect((await fetchGateway('https://gateway.example/healthz', { method: 'HEAD' })).status).not.toBe(405)
  })

  it('[REF12] a path parameter of the wrong form returns 404 with its name, and changes nothing', async () => {
    const cases: [string, string, string, object?][] = [
      ['GET', '/admin/tenants/NO', 'tenant_id'],
      ['GET', '/admin/tenants/no/members', 'tenant_id'],
      ['GET', '/admin/tenants/NO/verification', 'tenant_id'],
      ['PATCH', '/admin/tenants/acme/keys/%00', 'key_id', {}],
      ['PATCH', '/admin/tenants/acme/members/a%20b', 'member', { role: 'owner' }],
      ['PUT', '/admin/plans/Pro', 'plan_id', { name: 'Pro' }],
      ['DELETE', '/admin/operators/first', 'key_id'],
      ['POST', '/admin/workers/W/revoke', 'worker_id', {}],
      ['GET', `/admin/requests/${'r'.repeat(65)}?tenantId=acme`, 'request_id'],
      ['DELETE', `/admin/receipts/${'r'.repeat(65)}`, 'dispatch_id'],
    ]
    for (const [method, path, param, body] of cases) {
      const response = await fetchGateway(`https://gateway.example${path}`, {
        method,
        headers: { authorization: 'Bearer tmop_test', 'content-type': 'application/json' },
        ...(body && { body: JSON.stringify(body) }),
      })
      expect(response.status, path).toBe(404)
      expect(await response.json(), path).toMatchObject({ code: 'not_found', param })
    }
    const empty = await fetchGateway('https://gateway.example/admin/requests/r?tenantId=', {
      headers: { authorization: 'Bearer tmop_test' },
    })
    expect([empty.status, await empty.json()]).toMatchObject([400, { param: 'tenant_id' }])
  })

  it('[REF21] every field and parameter of operators’ routes and of a tenant’s own routes is snake_case', () => {
    const own = (id: unknown) => routes.some((route) => route.id === id && route.tag === 'Your keys and usage')
    const { paths, components } = openapi(routes, 'https://x', 'operators') as Record<string, unknown>
    const users = Object.entries(openapi(routes, 'https://x', 'users').paths as Record<string, Record<string, object>>)
    const ownPaths = users.flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, operation]) =>
        own((operation as { operationId?: string }).operationId) ? [[path, method, operation]] : [],
      ),
    )
    expect(ownPaths.length).toBeGreaterThan(8)
    const names = [...fieldNames(paths), ...fieldNames(components), ...fieldNames(ownPaths)]
    expect(names.length).toBeGreaterThan(300)
    expect([...new Set(names)].filter((name) => !/^[a-z][a-z0-9_-]*$/.test(name))).toEqual([])
  })

  it('[REF22] operators’ routes accept camelCase bodies and queries, answer in snake_case, and name a wrong field in snake_case', async () => {
    for (const [tenant_id, body] of [
      ['snakea', { tenant_id: 'snakea', name: 'A', credit_nano: 7, limits: { requests_per_minute: 5 } }],
      ['snakeb', { tenantId: 'snakeb', name: 'A', creditNano: 7, limits: { requestsPerMinute: 5 } }],
    ] as const) {
      expect(await send('POST', '/admin/tenants', body)).toMatchObject({ status: 201, body: { tenant_id } })
      const read = await send('GET', `/admin/tenants/${tenant_id}`)
      expect(read.body).toMatchObject({ credit_nano: 7, limits: { requests_per_minute: 5 } })
      expect(read.text).not.toMatch(/"[a-z]+[A-Z]\w*":/)
    }
    for (const name of ['tenant_id', 'tenantId'])
      expect((await send('GET', `/admin/audit?${name}=snakea`)).body.data[0]).toMatchObject({ tenant_id: 'snakea' })
    const wrong = await send('POST', '/admin/tenants', { tenantId: 'snakec', name: 'A', creditNano: -1 })
    expect(wrong).toMatchObject({
      status: 400,
      body: { param: 'credit_nano', message: expect.stringMatching(/^credit_nano: /) },
    })
  })

  it('[REF2] the documented schema of a body is the schema that reads it', () => {
    const { paths, components } = openapi(routes, 'https://x', 'users') as {
      paths: Record<string, Record<string, unknown>>
      components: { schemas: Record<string, unknown> }
    }
    const operatorPaths = openapi(routes, 'https://x', 'operators').paths as typeof paths
    expect(JSON.stringify(paths['/v1/chat/completions']?.post)).toContain('/ChatCompletionRequest"')
    const { ChatCompletionRequest, UserMessage } = components.schemas
    const text = JSON.stringify([ChatCompletionRequest, UserMessage])
    for (const field of ['reasoning_effort', 'response_format', 'stream_options', 'file_data', 'document_url'])
      expect(text).toContain(`"${field}"`)
    expect(JSON.stringify(paths['/v1/keys']?.post)).toContain('"requests_per_minute"')
    expect(JSON.stringify(operatorPaths['/admin/tenants/{tenant_id}/keys']?.post)).toContain('"requests_per_minute"')
  })

  it('[REF3] the two documents together describe every route except those between the gateway and its workers', () => {
    const described = (['users', 'operators'] as const).flatMap((audience) => {
      const { paths } = openapi(routes, 'https://x', audience) as { paths: Record<string, Record<string, unknown>> }
      return Object.entries(paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `${method} ${path}`),
      )
    })
    const open = routes.filter((operation) => audienceOf(operation) !== undefined)
    expect(described.sort()).toEqual(open.map((operation) => `${operation.method} ${documentedPath(operation)}`).sort())
    expect(routes.filter((each) => audienceOf(each) === undefined).every(({ auth }) => auth === 'worker')).toBe(true)
  })

  it('[REF5] GET / redirects to /docs, and an unknown path returns 404 with a link to /docs', async () => {
    const bare = await fetchGateway('https://gateway.example/', { redirect: 'manual' })
    expect(bare.status).toBe(302)
    expect(bare.headers.get('location')).toBe('/docs')
    const wrong = await fetchGateway('https://gateway.example/v1')
    expect(wrong.status).toBe(404)
    expect(await wrong.text()).toContain('/docs')
  })

  it('[REF4] the documentation names the gateway’s own address and model, and contains no key', async () => {
    for (const path of ['/docs', '/docs/quickstart', '/llms.txt']) {
      const text = await (await fetchGateway(`https://gateway.example${path}`)).text()
      expect(text).toContain('https://gateway.example/v1')
      expect(text).toContain('tramontane-tiny')
      expect(text).not.toMatch(/tm_(live|test)_[a-z0-9]/)
    }
    const response = await fetchGateway('https://gateway.example/openapi.json')
    expect(await response.json()).toMatchObject({ openapi: '3.1.0', servers: [{ url: 'https://gateway.example' }] })
  })

  it('[REF17] every body of a chat route has an example that its dialect accepts, and every field of a chat or model route is described', () => {
    const chats = routes.filter(({ tag, body }) => tag === 'Chat' && body !== undefined)
    expect(chats).toHaveLength(7)
    for (const { id, body, example } of chats) expect(body?.safeParse(example).error, id).toBeUndefined()
    for (const path of ['mistral', 'chat'] as const) {
      const dialect = path === 'mistral' ? mistral : chatCompletions
      const route = chats.find(
        ({ path: own }) => own === (path === 'mistral' ? '/mistral/v1/chat/completions' : '/v1/chat/completions'),
      )
      expect(dialect.read(route?.example, noPreviousTurns).ok).toBe(true)
    }
    expect(chatSchemas().flatMap(({ at, schema }) => undescribed(at, schema))).toEqual([])
  })

  it('[REF18] every object of an answer of a chat or model route is closed, except the input items', () => {
    const answers = chatSchemas().filter(({ io }) => io === 'output')
    expect(answers.length).toBeGreaterThan(15)
    expect([...new Set(answers.flatMap(({ schema }) => open(schema)))]).toEqual([
      'An item as the client sent it. Its other fields depend on its `type`.',
    ])
  })

  it('[REF20] the reference shows the field `id` of an answer, and every type of a field that may be null', () => {
    const { html } = referencePage(routes, 'users')
    const of = (id: string) =>
      html.slice(html.indexOf(`id="${id}"`), html.indexOf('class="route"', html.indexOf(`id="${id}"`)))
    expect(of('createChatCompletion')).toContain('<code>id</code> <span class="type">string</span>')
    expect(of('createChatCompletion')).toContain('<code>stream</code> <span class="type">boolean | null</span>')
    expect(of('createChatCompletion')).toContain('<code>top_p</code> <span class="type">number | null, 0 to 1</span>')
  })
})

type Json = Record<string, unknown>
const models = { Chat: true, Models: true } as Record<string, boolean>

/** The schemas of the bodies, answers and events of the chat and model routes. */
function chatSchemas(): { at: string; io: 'input' | 'output'; schema: Json }[] {
  return routes
    .filter(({ tag }) => models[tag])
    .flatMap(({ id, body, answer, streamEvent, otherAnswers = [] }) => {
      const answers = [answer, streamEvent, ...otherAnswers.map((each) => each.answer)].filter(
        (each) => typeof each === 'object',
      )
      return [
        ...(body ? [{ at: id, io: 'input' as const, schema: jsonSchema(body, 'input') }] : []),
        ...answers.map((each) => ({ at: id, io: 'output' as const, schema: jsonSchema(each, 'output') })),
      ]
    })
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  return z.toJSONSchema(schema, { io, unrepresentable: 'any', reused: 'inline' })
}

/** Calls `see` with each schema inside, itself included. */
function visit(schema: unknown, see: (schema: Json) => void): void {
  if (typeof schema !== 'object' || schema === null) return
  see(schema as Json)
  for (const each of Object.values(schema)) visit(each, see)
}

function undescribed(at: string, whole: Json): string[] {
  const names: string[] = []
  visit(whole, ({ properties, type }) => {
    if (typeof properties !== 'object' || properties === null || type === 'string') return
    for (const [name, each] of Object.entries(properties as Record<string, Json>))
      if (typeof each.description !== 'string' || !/^[A-Z`].{4,}/s.test(each.description)) names.push(`${at}: ${name}`)
  })
  return names
}

/** The descriptions of the objects that have fields and allow others. */
function open(whole: Json): unknown[] {
  const found: unknown[] = []
  visit(whole, ({ type, properties, additionalProperties, description }) => {
    if (type === 'object' && properties !== undefined && additionalProperties !== false) found.push(description)
  })
  return found
}

/** The names of all properties and parameters in a document, without those of examples. */
function fieldNames(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(fieldNames)
  if (typeof value !== 'object' || value === null) return []
  const parameter = value as { name?: unknown; in?: unknown }
  const own = parameter.in === 'query' || parameter.in === 'path' ? [String(parameter.name)] : []
  const inside = Object.entries(value).flatMap(([key, each]) => {
    if (key === 'examples' || key === 'example' || key === 'default') return []
    return key === 'properties' ? [...Object.keys(each), ...Object.values(each).flatMap(fieldNames)] : fieldNames(each)
  })
  return [...own, ...inside]
}
