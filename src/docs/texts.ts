/**
 * `/openapi.json`, `/openapi/operators.json`, `/llms.txt` and the redirect from `/` to the documentation. Generating a
 * text takes about 30 ms and needs no key, so an isolate caches each text for each address.
 */
import type { Context } from 'hono'
import { budgets } from '../../backends/model/budgets.ts'
import { type ConfigVariables, settings } from '../config.ts'
import { type Operation, type Route, routesIn } from '../http/route.ts'
import { llmsText } from './llms-txt.ts'
import type { Audience } from './navigation.ts'
import { openapi } from './openapi.ts'
import type { DocsContext } from './quickstarts.ts'

interface CachedText {
  bytes: Uint8Array<ArrayBuffer>
  etag: string
  headers: Record<string, string>
}

/** By path and origin, the least recently used first. */
const made = new Map<string, CachedText>()

const document = routesIn<{ Bindings: ConfigVariables }>()
const unchanged = { status: 304, answer: 'nothing', description: 'Not modified' } as const
const described = { method: 'get', tag: 'Documents', auth: 'none', otherAnswers: [unchanged] } as const

/** @param operations called at the first request, because these routes are among them */
export function documentRoutes(operations: () => readonly Operation[]): readonly Route[] {
  const json = (audience: Audience) => (context: Context<{ Bindings: ConfigVariables }>) =>
    answer(context, async ({ origin }) => ({
      text: JSON.stringify(openapi(operations(), origin, audience)),
      headers: { 'content-type': 'application/json', 'access-control-allow-origin': '*' },
    }))
  return [
    document(
      {
        ...described,
        path: '/',
        id: 'openRoot',
        summary: 'Redirect to the documentation',
        status: 302,
        answer: 'nothing',
      },
      (context) => context.redirect('/docs'),
    ),
    document(
      {
        ...described,
        path: '/openapi.json',
        id: 'retrieveOpenapi',
        summary: 'Retrieve the users’ routes as OpenAPI 3.1',
        answer: 'object',
      },
      json('users'),
    ),
    document(
      {
        ...described,
        path: '/openapi/operators.json',
        id: 'retrieveOperatorsOpenapi',
        summary: 'Retrieve the operators’ routes as OpenAPI 3.1',
        answer: 'object',
      },
      json('operators'),
    ),
    document(
      {
        ...described,
        path: '/llms.txt',
        id: 'retrieveLlmsText',
        summary: 'Retrieve a description of this service for language models',
        answer: 'text',
      },
      (context) =>
        answer(context, async (place, offered) => ({
          text: llmsText(operations(), place, offered),
          headers: { 'content-type': 'text/plain; charset=UTF-8' },
        })),
    ),
  ]
}

type Make = (
  place: DocsContext,
  offered: readonly string[],
) => Promise<{ text: string; headers: Record<string, string> }>

async function answer(context: Context<{ Bindings: ConfigVariables }>, make: Make): Promise<Response> {
  const { models } = await settings(context.env)
  const { origin } = new URL(context.req.url)
  const name = `${context.req.path} ${origin}`
  const page = made.get(name) ?? (await makePage(make, { origin, model: models[0] ?? '' }, models))
  remember(name, page)
  const headers = { ...page.headers, etag: page.etag, 'cache-control': 'public, max-age=300' }
  if (context.req.header('if-none-match') === page.etag) return context.body(null, 304, headers)
  return context.body(page.bytes, 200, headers)
}

async function makePage(make: Make, place: DocsContext, offered: readonly string[]): Promise<CachedText> {
  const { text, headers } = await make(place, offered)
  const bytes = new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>
  return { bytes, headers, etag: `"${await hash(bytes)}"` }
}

/** Bounded, because a client chooses the origin with its Host header. */
function remember(name: string, page: CachedText): void {
  made.delete(name)
  made.set(name, page)
  if (made.size <= 3 * budgets.referenceOrigins.value) return
  const [oldest] = made.keys()
  if (oldest !== undefined) made.delete(oldest)
}

async function hash(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)
  return btoa(String.fromCharCode(...new Uint8Array(digest)))
}
