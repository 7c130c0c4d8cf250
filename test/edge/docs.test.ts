/// <reference types="@cloudflare/vitest-plugin/types" />

import { describe, expect, it } from 'vitest'
import { navigation } from '../../src/docs/navigation.ts'
import { audienceOf, documentedPath } from '../../src/docs/openapi.ts'
import type { SearchRow } from '../../src/docs/site.ts'
import { routes } from '../../src/routes.ts'
import { fetchGateway } from './gateway.ts'

const origin = 'https://gateway.example'
const get = (path: string, headers: Record<string, string> = {}) => fetchGateway(origin + path, { headers })
const textOf = async (path: string) => (await get(path)).text()
const paths = navigation.map(({ path }) => path)
const assets = ['docs.css', 'docs.js', 'icon.svg', 'search-users.json', 'search-operators.json'].map(
  (name) => `/docs/assets/${name}`,
)
const routesOf = (audience: 'users' | 'operators' | undefined) => routes.filter((each) => audienceOf(each) === audience)

describe('the documentation', () => {
  it('[SITE8] every page of the navigation exists, and its links lead to existing pages', async () => {
    const pages = new Map(await Promise.all(paths.map(async (path) => [path, await textOf(path)] as const)))
    const others = ['/openapi.json', '/openapi/operators.json', '/llms.txt']
    for (const [path, page] of pages) {
      expect(page.match(/<main id="content">/g), path).toHaveLength(1)
      expect(page.match(/<h1>/g), path).toHaveLength(1)
      expect(page, path).toContain('<a class="skip" href="#content">')
      expect(page, path).toMatch(/<title>[^<]+<\/title>/)
      expect(page, path).not.toContain('TRAMONTANEORIGIN')
      for (const [, url = '', anchor] of page.matchAll(/<a [^>]*href="(\/[^"#]*)(?:#([^"]*))?"/g)) {
        if (others.includes(url)) continue
        expect(paths, `${path} links to ${url}`).toContain(url)
        if (anchor) expect(pages.get(url), `${path} links to ${url}#${anchor}`).toContain(`id="${anchor}"`)
      }
    }
  })

  it('[SITE9] a page or asset that the browser has cached returns 304', async () => {
    for (const path of [...paths, ...assets]) {
      const first = await get(path)
      expect(first.status, path).toBe(200)
      await first.arrayBuffer()
      const tag = first.headers.get('etag') ?? ''
      expect(tag, path).toMatch(/^"[\w-]+"$/)
      expect(first.headers.get('cache-control'), path).toMatch(/^public, max-age=\d+/)
      const again = await get(path, { 'if-none-match': `"other", W/${tag}` })
      expect([again.status, await again.text()], path).toEqual([304, ''])
    }
    const elsewhere = await fetchGateway('https://other.example/docs', {
      headers: { 'if-none-match': (await get('/docs')).headers.get('etag') ?? '' },
    })
    expect(elsewhere.status).toBe(200)
    expect(await elsewhere.text()).toContain('https://other.example/v1')
  })

  it('[SITE10] pages load nothing from other hosts and run no inline script', async () => {
    for (const path of paths) {
      const response = await get(path)
      const policy = response.headers.get('content-security-policy') ?? ''
      expect(policy, path).toBe(
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
      )
      expect(response.headers.get('x-content-type-options')).toBe('nosniff')
      const page = await response.text()
      expect(
        page.match(/<script(?! src="\/docs\/)|<style|<iframe|\sstyle="|\son\w+="|@import|javascript:/i),
        path,
      ).toBeNull()
      for (const [, url] of page.matchAll(/\s(?:src|srcset)="([^"]*)"/g)) expect(url, path).toMatch(/^\/docs\/assets\//)
      for (const [, url] of page.matchAll(/<link [^>]*href="([^"]*)"/g)) expect(url, path).toMatch(/^\/docs\/assets\//)
    }
    for (const path of assets.filter((each) => !each.endsWith('.json')))
      expect(await textOf(path), path).not.toMatch(/url\(|@import|https?:\/\/(?!www\.w3\.org\/2000\/svg)\w+\.\w/)
  }, 60_000)

  it('[SITE11] each reference has only the routes of its audience, and none has internal routes', async () => {
    const pages = { users: await textOf('/docs/reference'), operators: await textOf('/docs/operators/reference') }
    const documents = { users: await textOf('/openapi.json'), operators: await textOf('/openapi/operators.json') }
    for (const [audience, other] of [
      ['users', 'operators'],
      ['operators', 'users'],
    ] as const) {
      for (const operation of routesOf(audience)) {
        expect(pages[audience]).toContain(`id="${operation.id}"`)
        expect(pages[audience]).toContain(`<code>${documentedPath(operation)}</code>`)
        expect(documents[audience]).toContain(`"${operation.id}"`)
        expect(pages[other]).not.toContain(`id="${operation.id}"`)
        expect(documents[other]).not.toContain(`"${operation.id}"`)
      }
    }
    expect(routesOf(undefined).length).toBeGreaterThan(1)
    for (const { path } of routesOf(undefined))
      for (const text of [...Object.values(pages), ...Object.values(documents), await textOf('/llms.txt')])
        expect(text).not.toContain(path)
    expect(documents.users).not.toContain('/admin')
  })

  it('[SITE12] each search index has only the pages of its audience, and finds its routes', async () => {
    for (const audience of ['users', 'operators'] as const) {
      const rows = (await (await get(`/docs/assets/search-${audience}.json`)).json()) as SearchRow[]
      const pages = navigation.filter((page) => page.audience === audience).map(({ path }) => path)
      expect([...new Set(rows.map(({ url }) => url.split('#')[0]))].sort()).toEqual([...pages].sort())
      expect(JSON.stringify(rows)).not.toMatch(/\\u0000|TRAMONTANEORIGIN|&#?\w+;|<\/?code>/)
      for (const operation of routesOf(audience))
        expect(rows.map(({ heading }) => heading)).toContain(
          `${operation.method.toUpperCase()} ${documentedPath(operation)}`,
        )
    }
  })

  it('[SITE13] backticks in a description are shown as code', async () => {
    expect(routes.some(({ description }) => description?.includes('`'))).toBe(true)
    for (const path of ['/docs/reference', '/docs/operators/reference']) expect(await textOf(path)).not.toContain('`')
    expect(await textOf('/docs/reference')).toContain('<code>reasoning_content</code>')
  })

  it('[SITE14] an unknown page returns 404 with a link to the overview', async () => {
    for (const path of [
      '/docs/nothing',
      '/docs/assets/nothing.css',
      '/docs/assets/constructor',
      '/docs/assets/../reference/x',
    ]) {
      const response = await get(path)
      expect(response.status, path).toBe(404)
      expect(response.headers.get('content-security-policy')).toContain("default-src 'self'")
      await response.text()
    }
    expect(await textOf('/docs/nothing')).toContain('<a href="/docs">')
  })

  it('[SITE16] a page weighs less than 100 kB with script and style, the script less than 15 kB', async () => {
    const size = async (path: string) => (await (await get(path)).arrayBuffer()).byteLength
    const script = await size('/docs/assets/docs.js')
    const style = await size('/docs/assets/docs.css')
    expect(script).toBeLessThan(15_000)
    // The references are larger: they list every field of every route.
    for (const path of paths.filter((each) => !each.endsWith('/reference')))
      expect(script + style + (await size(path)), path).toBeLessThan(100_000)
  })
})
