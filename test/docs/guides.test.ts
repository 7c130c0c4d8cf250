/** The guides: their generated tables, their links, and their examples. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { errorTable } from '../../backends/model/errors.ts'
import { EngineEnvironment, WorkerEnvironment } from '../../gpu-worker/config.ts'
import { navigation } from '../../src/docs/navigation.ts'
import { GatewayEnvironment } from '../../src/gateway-environment.ts'
import { buildDocs, renderPages } from '../../src/local/build-docs.ts'
import { StartEnvironment } from '../../src/local/environment.ts'
import { TenantSettings } from '../../src/tenant/tenant-settings.ts'
import { examples } from './examples.ts'
import { guides, parts, regenerate, settingsOf, updateGuides } from './tables.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (file: string) => readFileSync(guides + file, 'utf8')
const files = readdirSync(guides, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.md'))

describe('the guides', () => {
  it('[SITE1] generated tables match the product (UPDATE_DOCS=1 rewrites them)', () => {
    if (process.env.UPDATE_DOCS === '1') return updateGuides()
    for (const file of Object.keys(parts)) expect(read(file), file).toBe(regenerate(file, read(file)))
  })

  it('[SITE2] every setting has a description', () => {
    for (const schema of [StartEnvironment, GatewayEnvironment, WorkerEnvironment, EngineEnvironment, TenantSettings]) {
      for (const { name, field } of settingsOf(schema)) {
        expect(field.description ?? '', name).toMatch(/^[A-Z`].{10,}\.$/)
        expect(field.description, name).not.toContain('|')
      }
    }
  })

  it('[SITE3] every error code has advice', () => {
    const advice = new Map(
      [...read('errors.md').matchAll(/^\| `(\w+)` \|.*\| ([^|]*) \|$/gm)].map((row) => [row[1], row[2]]),
    )
    for (const code of Object.keys(errorTable)) expect(advice.get(code), code).toMatch(/^[A-Z].{10,}\.$/)
  })

  it('[SITE4] every guide is a page, and every link leads to a page and a heading', () => {
    const sources = navigation.flatMap(({ source }) => source ?? [])
    expect(files.filter((file) => !sources.includes(file))).toEqual([])
    const pages = renderPages()
    expect(Object.keys(pages)).toHaveLength(sources.length)
    for (const [path, { description, html }] of Object.entries(pages)) {
      expect(description.length, path).toBeGreaterThan(20)
      expect(html.match(/<h1>/g), path).toHaveLength(1)
    }
  })

  it('[SITE5] every SVG names the Mermaid diagram that it shows', () => {
    for (const file of files) {
      const fences = [...read(file).matchAll(/```mermaid\n([\s\S]*?)\n```/g)].map(([, text]) => text ?? '')
      for (const [index, fence] of fences.entries()) {
        const svg = read(`diagrams/${file.replace('.md', '')}-${index + 1}.svg`)
        // After a change of the diagram, redraw the SVG and write the new hash into its first line.
        expect(svg).toContain(
          `drawn from Mermaid source ${createHash('sha256').update(fence).digest('hex').slice(0, 12)}`,
        )
        expect(svg).toMatch(/<title id="\w+-title">.+<desc/)
        expect(svg).not.toContain('style=')
      }
    }
  })

  it('[SITE6] TypeScript examples pass the type checker', () => {
    const folder = join(root, '.tramontane', 'docs-examples')
    mkdirSync(folder, { recursive: true })
    const code = files.flatMap((file) => examples(read(file), 'ts'))
    expect(code.length).toBeGreaterThan(4)
    const paths = code.map((text, index) => {
      const path = join(folder, `example-${index}.mts`)
      writeFileSync(path, text)
      return path
    })
    const options = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--module',
      'nodenext',
      '--target',
      'es2024',
      '--types',
      'node',
    ]
    try {
      execFileSync(join(root, 'node_modules', '.bin', 'tsc'), ['--ignoreConfig', ...options, ...paths], {
        encoding: 'utf8',
      })
    } catch (error) {
      expect((error as { stdout: string }).stdout).toBe('')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('[SITE7] a build without changes writes nothing', () => {
    buildDocs()
    const path = join(root, 'src/docs/generated/site.ts')
    const before = statSync(path).mtimeMs
    buildDocs()
    expect(statSync(path).mtimeMs).toBe(before)
  })
})
