/**
 * Renders the guides into `src/docs/generated/site.ts`, a part of the gateway's bundle. `ensure.mjs` and wrangler's
 * build command run it. Does nothing when no input has changed.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type NavigationPage, navigation } from '../docs/navigation.ts'
import type { AssetName, RenderedPage, Site } from '../docs/site.ts'
import { renderMarkdown } from './render-markdown.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const guides = 'src/docs/guides'
const output = join(root, 'src/docs/generated/site.ts')
const assets: AssetName[] = ['docs.css', 'docs.js', 'icon.svg']
const read = (path: string) => readFileSync(join(root, path), 'utf8').replaceAll('\r\n', '\n')

/** Relative to the root of the repository. */
const sourceOf = (page: NavigationPage) => page.source && posix.normalize(`${guides}/${page.source}`)
const urls = new Map(navigation.flatMap((page) => (page.source ? [[sourceOf(page), page.path]] : [])))

export function buildDocs(): void {
  const version = fingerprint()
  if (existsSync(output) && readFileSync(output, 'utf8').includes(`"version":"${version}"`)) return
  const site: Site = {
    version,
    pages: renderPages(),
    assets: Object.fromEntries(assets.map((name) => [name, read(`src/docs/assets/${name}`)])) as Site['assets'],
  }
  mkdirSync(dirname(output), { recursive: true })
  const text = `import type { Site } from '../site.ts'\n\nexport const site: Site = ${JSON.stringify(site)}\n`
  // Renamed into place, because two processes may build at the same time.
  writeFileSync(`${output}.${process.pid}`, text)
  renameSync(`${output}.${process.pid}`, output)
}

/** Throws when a link leads to a page or a heading that does not exist. */
export function renderPages(): Record<string, RenderedPage> {
  const pages: Record<string, RenderedPage> = {}
  for (const page of navigation) {
    const source = sourceOf(page)
    if (source === undefined) continue
    pages[page.path] = renderMarkdown(read(source), {
      source,
      placed: page.audience === 'users',
      resolve: (href) => resolveLink(href, source),
      diagram: (index) => diagramOf(source, index),
    })
  }
  checkAnchors(pages)
  return pages
}

function resolveLink(href: string, source: string): string | undefined {
  if (href.startsWith('/')) return href
  const [file = '', anchor] = href.split('#')
  const url = urls.get(posix.normalize(`${posix.dirname(source)}/${file}`))
  return url && (anchor ? `${url}#${anchor}` : url)
}

function diagramOf(source: string, index: number): string | undefined {
  const path = `${guides}/diagrams/${posix.basename(source, '.md')}-${index}.svg`
  return existsSync(join(root, path)) ? read(path).replace(/<!--[\s\S]*?-->\s*/g, '') : undefined
}

function checkAnchors(pages: Record<string, RenderedPage>): void {
  for (const [path, { html }] of Object.entries(pages)) {
    for (const [, target, anchor] of html.matchAll(/<a href="(\/docs[^"#]*|)#([^"]+)"/g)) {
      const page = pages[target || path]
      if (page && !page.html.includes(`id="${anchor}"`))
        throw new Error(`${path}: no heading #${anchor} on ${target || path}`)
    }
  }
}

function fingerprint(): string {
  const hash = createHash('sha256')
  const add = (path: string) => hash.update(`${path}\0${read(path)}\0`)
  for (const { source } of navigation) if (source) add(posix.normalize(`${guides}/${source}`))
  for (const name of readdirSync(join(root, guides, 'diagrams')).sort()) add(`${guides}/diagrams/${name}`)
  for (const name of assets) add(`src/docs/assets/${name}`)
  for (const name of ['docs/navigation', 'docs/site', 'local/build-docs', 'local/render-markdown'])
    add(`src/${name}.ts`)
  for (const name of ['marked', 'highlight.js']) {
    const { version } = JSON.parse(read(`node_modules/${name}/package.json`)) as { version: string }
    hash.update(`${name} ${version}\0`)
  }
  return hash.digest('hex').slice(0, 16)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    buildDocs()
  } catch (error) {
    process.stderr.write(`documentation build failed: ${error instanceof Error ? error.message : error}\n`)
    process.exit(1)
  }
}
