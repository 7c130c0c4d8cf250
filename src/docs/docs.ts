/**
 * `/docs`: guides and reference, with the gateway's own address in all examples. The content security policy allows
 * only this gateway as a source, and no inline script or style.
 */
import type { Context } from 'hono'
import { z } from 'zod'
import { type ConfigVariables, settings } from '../config.ts'
import { type Operation, type Route, routesIn } from '../http/route.ts'
import { site } from './generated/site.ts'
import { frame, missing } from './layout.ts'
import { type Audience, findPage, type NavigationPage, navigation } from './navigation.ts'
import { referencePage } from './reference-page.ts'
import { type AssetName, fill, type RenderedPage, type SearchRow, type SitePlace } from './site.ts'

const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
const contentTypes: Record<string, string> = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
  json: 'application/json',
}
/** An asset's URL changes with its content; see `version`. */
const assetCache = 'public, max-age=31536000, immutable'
const pageCache = 'public, max-age=60'

type DocsEnv = { Bindings: ConfigVariables }
/** All operations of the gateway. Called at the first request, because the documentation's own routes are among them. */
type Operations = () => readonly Operation[]

const docsRoute = routesIn<DocsEnv>()
const unchanged = { status: 304, answer: 'nothing', description: 'Not modified' } as const
const notFound = { status: 404, type: 'text/html', answer: 'text', description: 'Page not found' } as const
const described = {
  method: 'get',
  tag: 'Documents',
  auth: 'none',
  answer: 'text',
  otherAnswers: [unchanged, notFound],
} as const

export function docsRoutes(operations: Operations): readonly Route[] {
  return [
    docsRoute(
      { ...described, path: '/docs', id: 'openDocumentation', summary: 'Open the overview of the documentation' },
      (context) => answerPage(context, '/docs', operations),
    ),
    docsRoute(
      {
        ...described,
        path: '/docs/{page}',
        pattern: '/docs/:page{.+}',
        params: {
          page: z
            .string()
            .describe('Path of the page.')
            .meta({ examples: ['quickstart'] }),
        },
        id: 'openPage',
        summary: 'Open a page of the documentation',
      },
      (context, { params: { page } }) =>
        page.startsWith('assets/')
          ? answerAsset(context, page.slice('assets/'.length), operations)
          : answerPage(context, `/docs/${page}`, operations),
    ),
  ]
}

async function answerPage(context: Context<DocsEnv>, path: string, operations: Operations): Promise<Response> {
  const page = findPage(path)
  if (!page)
    return answer(context, missing(site.version), { type: 'text/html; charset=utf-8', cache: 'no-store', status: 404 })
  const { models } = await settings(context.env)
  const place: SitePlace = { origin: new URL(context.req.url).origin, model: models[0] ?? '' }
  const tag = `"${site.version}-${shortHash(`${path} ${place.origin} ${place.model}`)}"`
  return answer(context, () => fill(framed(page, operations), place), {
    type: 'text/html; charset=utf-8',
    cache: pageCache,
    tag,
  })
}

function answerAsset(context: Context, name: string, operations: Operations): Response {
  const audience = /^search-(users|operators)\.json$/.exec(name)?.[1] as Audience | undefined
  const text = audience ? searchIndex(audience, operations) : site.assets[name as AssetName]
  const type = contentTypes[name.split('.').pop() ?? '']
  if (!Object.hasOwn(site.assets, name) && !audience)
    return answer(context, 'not found', { type: 'text/plain', cache: 'no-store', status: 404 })
  return answer(context, text, {
    type: type ?? 'text/plain',
    cache: assetCache,
    tag: `"${site.version}-${shortHash(text)}"`,
  })
}

interface PageOptions {
  type: string
  cache: string
  tag?: string
  status?: number
}

function answer(
  context: Context,
  body: string | (() => string),
  { type, cache, tag, status = 200 }: PageOptions,
): Response {
  const headers = new Headers({
    'cache-control': cache,
    'content-security-policy': policy,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'same-origin',
  })
  if (tag) headers.set('etag', tag)
  const known = (context.req.header('if-none-match') ?? '').split(',').map((each) => each.trim().replace(/^W\//, ''))
  if (tag && known.includes(tag)) return new Response(null, { status: 304, headers })
  headers.set('content-type', type)
  return new Response(typeof body === 'string' ? body : body(), { status, headers })
}

// Rendered once per isolate. The keys are the pages of the navigation, so the map is bounded.
const frames = new Map<string, string>()
const references = new Map<Audience, RenderedPage>()
const indexes = new Map<Audience, string>()

function framed(page: NavigationPage, operations: Operations): string {
  return once(frames, page.path, () => frame({ page, ...rendered(page, operations) }, site.version))
}

function rendered(page: NavigationPage, operations: Operations): RenderedPage {
  return site.pages[page.path] ?? once(references, page.audience, () => referencePage(operations(), page.audience))
}

function searchIndex(audience: Audience, operations: Operations): string {
  return once(indexes, audience, () => {
    const rows = navigation
      .filter((page) => page.audience === audience)
      .flatMap((page) =>
        rendered(page, operations).passages.map(
          ({ id, heading, text }): SearchRow => ({
            url: id ? `${page.path}#${id}` : page.path,
            page: page.title,
            heading: id ? heading : page.title,
            text,
          }),
        ),
      )
    return JSON.stringify(rows)
  })
}

function once<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key)
  if (known !== undefined) return known
  const value = make()
  map.set(key, value)
  return value
}

/** FNV-1a. Distinguishes versions; it is not a security function. */
function shortHash(text: string): string {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  return (hash >>> 0).toString(36)
}
