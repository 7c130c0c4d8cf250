/** The watch of the e2e project on a small server with a document. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { takeFaults, watchAnswers, watchedFetch } from './answer-watch.ts'

const Answer = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false }
const content = { 'application/json': { schema: Answer }, 'text/event-stream': { schema: Answer } }
const paths = Object.fromEntries(
  ['/good', '/bad', '/stream', '/broken', '/endless'].map((path) => [
    path,
    { get: { responses: { 200: { content } } } },
  ]),
)
const document = { paths, components: { schemas: {} } }
const bodies: Record<string, [type: string, text: string]> = {
  '/openapi.json': ['application/json', JSON.stringify(document)],
  '/openapi/operators.json': ['application/json', JSON.stringify({ ...document, paths: {} })],
  '/good': ['application/json', '{"a":1}'],
  '/bad': ['application/json', '{"a":1,"b":2}'],
  '/stream': ['text/event-stream', ': wait\n\ndata: {"a":1}\n\ndata: {"a":"x"}\n\ndata: [DONE]\n\n'],
  '/broken': ['text/event-stream', 'data: {"a":1}\n\ndata: {"a":'],
  '/endless': ['text/event-stream', 'data: {"b":1}\n\n'],
}

let server: Server
let origin: string
let left: Promise<void>

beforeAll(async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  left = promise
  server = createServer((request, response) => {
    const [type, text] = bodies[request.url ?? ''] ?? ['text/plain', '']
    response.setHeader('content-type', type)
    response.write(text)
    if (request.url === '/endless') response.once('close', resolve)
    else response.end()
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await watchAnswers(origin)
})

afterAll(() => void server.close())

const get = (path: string) => watchedFetch(origin + path)

it('[REF15] reading an undocumented answer, or event of a stream, is a fault, however it is read; the reader gets it unchanged', async () => {
  expect(await (await get('/good')).json()).toEqual({ a: 1 })
  expect(await (await get('/broken')).text()).toBe(bodies['/broken']?.[1])
  expect(takeFaults()).toEqual([])
  expect(await (await get('/bad')).json()).toEqual({ a: 1, b: 2 })
  expect(takeFaults()).toEqual([expect.stringContaining('get /bad 200')])
  expect(await (await get('/bad')).clone().text()).toBe(bodies['/bad']?.[1])
  expect(takeFaults()).toHaveLength(1)
  let text = ''
  for await (const part of (await get('/stream')).body ?? []) text += new TextDecoder().decode(part)
  expect(text).toBe(bodies['/stream']?.[1])
  expect(takeFaults()).toEqual([expect.stringContaining('{"a":"x"}')])
})

it('[REF16] a reader that leaves a stream cancels it, and the events that it read are checked', async () => {
  for await (const part of (await get('/endless')).body ?? []) {
    expect(part.byteLength).toBeGreaterThan(0)
    break
  }
  await left
  const reader = (await get('/endless')).body?.getReader()
  await reader?.read()
  await reader?.cancel()
  expect(takeFaults()).toEqual([expect.stringContaining('{"b":1}')])
})
