/** The house checks itself: who imports whom, what a core may touch, what may stand at the top, which rules have tests. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .trim()
  .split('\n')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const sources = files.filter((path) => /\.(ts|mjs)$/.test(path) && /^(src|backends|gpu-worker)\//.test(path))

/** Where the world is touched. Everything else in the three houses is core. */
const shells = [
  /^src\/local\//,
  /^src\/(index|app|env)\.ts$/,
  /^src\/(account|admin)\//,
  /^src\/auth\/key-check\.ts$/,
  /^src\/http\/(body|cors|errors)\.ts$/,
  /^src\/responses\/(responses-object|previous-response|idempotency|routes)\.ts$/,
  // Pure, but native.
  /^src\/(tenant\/ledger\/sha256|settlement\/proof)\.ts$/,
  /^src\/tenant\/(tenant-object|client|take-rates|webhooks\/deliver)\.ts$/,
  /^src\/fleet\/(fleet-object|lease|queue-status|heartbeats|health|worker-answer)\.ts$/,
  /^src\/chat\/(?!(prepare|headers|hosted-usage|chat-bytes|hedge-after)\.ts$)/,
  /^src\/settlement\/(receipts|inquire)\.ts$/,
  // Pages are made with Hono’s escaping. The code in quickstarts reads a key from the environment.
  /^src\/docs\/(docs|layout|reference-page|texts|quickstarts)\.ts$/,
  /^gpu-worker\/(main|worker|config|count|server|run-dispatch|media-reading|signed-body|connections|operator-port|relay|outbox|outbox-lock|receipts|delivery|heartbeat|life|watchdog|watchdog-thread)\.ts$/,
  /^gpu-worker\/engine\/(child|fork|llama|embedded|model-file|cpu|gpu|guard|launch|supervisor|calls|http|http-run|create|grammar-child|grammar-reader|grammar-service|child-watch|child-watch-thread|orphan)\.ts$/,
  /^gpu-worker\/media\/(fetch|pdf|pdf-thread|resolver|work-timer)\.ts$/,
  /^gpu-worker\/doctor\/main\.ts$/,
]

/** The words that a rule must not use; see `test/spec/readme.md`. */
const bannedWords =
  /\b(told|tells?|whoever|whatever|anew|of late|lately|nobody|somebody|beside|what is left|gives? back|goes on|for good|house|room|the line|greedy|guest|border|desk|purse|market|knock|sight|voice)\b/i

const imports = (text: string) =>
  [...text.matchAll(/^(?:import|export)\s[^'"]*?from\s+['"]([^'"]+)['"]/gm)].map((match) => match[1] ?? '')

describe('the house', () => {
  it('[TDY1] src and gpu-worker never import each other, and backends imports neither', () => {
    const crossings = sources.flatMap((path) => {
      const house = path.split('/')[0]
      return imports(read(path))
        .filter((from) => from.startsWith('.'))
        .map((from) => new URL(from, `file:///${path}`).pathname.slice(1).split('/')[0])
        .filter((other) => other !== house && other !== 'backends')
        .map((other) => `${path} imports ${other}`)
    })
    expect(crossings).toEqual([])
  })

  it('[TDY2] a core imports no platform, reads no clock, no randomness, no environment and no network', () => {
    const forbidden: [RegExp, string][] = [
      [/from '(node:|cloudflare:|hono|undici|node-llama-cpp|wrangler|miniflare)/, 'a platform module'],
      [/\bDate\.now\(|new Date\(\)|performance\.now\(/, 'a clock'],
      [/\bMath\.random\(|randomUUID\(|getRandomValues\(/, 'randomness'],
      [/\bprocess\.env\b/, 'the environment'],
      [/[^.\w]fetch\(/, 'the network'],
    ]
    const cores = sources.filter((path) => !shells.some((shell) => shell.test(path)))
    expect(cores.length).toBeGreaterThan(15)
    const faults = cores.flatMap((path) => {
      const code = read(path).replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
      return forbidden.filter(([pattern]) => pattern.test(code)).map(([, what]) => `${path} touches ${what}`)
    })
    expect(faults).toEqual([])
  })

  it('[TDY3] nothing new stands at the top', () => {
    const allowed =
      /^(\..+|package\.json|package-lock\.json|tsconfig\.json|wrangler\.toml|README\.md|LICENSE|SECURITY\.md|CHANGELOG\.md|CONTRIBUTING\.md|src|backends|gpu-worker|test)$/
    expect([...new Set(files.map((path) => path.split('/')[0] ?? ''))].filter((name) => !allowed.test(name))).toEqual(
      [],
    )
  })

  it('[TDY4] no file is named for what it is not: utils, helpers, types, constants, manager, service', () => {
    expect(files.filter((path) => /^(utils?|helpers?|types|constants|manager|service)\./.test(basename(path)))).toEqual(
      [],
    )
  })

  it('[TDY5] no path of a machine and no registry address is committed', () => {
    const registry = /https?:\/\/[^\s"']*(registry|npmjs|mirror)[^\s"']*/
    const leaks = files
      .filter(
        (path) => /\.(ts|mjs|json|toml|md|sh|py|yml)$|^\.npmrc$|^\.ci\//.test(path) && path !== 'test/tidy.test.ts',
      )
      .filter((path) => registry.test(read(path)) || /["'\s(=](\/work\/|\/home\/|\/root\/|\/Users\/)/.test(read(path)))
    expect(leaks).toEqual([])
  })

  const specs = files.filter((path) => /^test\/spec\/(?!readme\.md$)/.test(path))
  const rules = specs.flatMap((path) =>
    [...read(path).matchAll(/^\| ([A-Z0-9]+\d+) \| (.*) \|$/gm)].map(([, id = '', sentence = '']) => ({
      id,
      sentence,
    })),
  )

  it('[TDY6] every test names its rule, every rule has a test, and no rule occurs twice', () => {
    const ids = rules.map(({ id }) => id)
    expect(ids.filter((rule, index) => ids.indexOf(rule) !== index)).toEqual([])
    const tests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' }).filter((path) =>
      path.endsWith('.test.ts'),
    )
    const names = tests.flatMap((path) =>
      [...read(join('test', path)).matchAll(/\bit(?:\.each\((?:[^()]|\([^()]*\))*\)|\.\w+)?\(\s*['"`]([^'"`]*)/g)].map(
        (match) => match[1] ?? '',
      ),
    )
    expect(names.length).toBeGreaterThan(50)
    const named = names.map((name) => /^\[([A-Z0-9]+\d+)\] /.exec(name)?.[1] ?? `no rule: ${name}`)
    expect([...new Set(named)].filter((rule) => !ids.includes(rule))).toEqual([])
    expect(ids.filter((rule) => !named.includes(rule))).toEqual([])
  })

  it('[TDY6] a rule is a plain sentence with a full stop, in a file named with letters and hyphens', () => {
    expect(specs.filter((path) => !/^test\/spec\/[a-z-]+\.md$/.test(path))).toEqual([])
    const rows = specs.flatMap((path) => read(path).match(/^\| [A-Z0-9]*\d.*$/gm) ?? [])
    expect(rows).toEqual(rules.map(({ id, sentence }) => `| ${id} | ${sentence} |`))
    expect(rules.filter(({ sentence }) => !/^[A-Z`].*\.$/.test(sentence))).toEqual([])
    // Code is not prose: it may contain any word.
    expect(rules.filter(({ sentence }) => bannedWords.test(sentence.replace(/`[^`]*`/g, '')))).toEqual([])
  })
})
