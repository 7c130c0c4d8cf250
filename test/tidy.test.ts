/** The repository checks itself: imports, cores, the top level, words, rules and their tests, commit subjects. */
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

/** Where the world is touched. Everything else in the three programs is a core. */
const shells = [
  /^src\/local\//,
  /^src\/(index|app|env|routes)\.ts$/,
  /^src\/(account|admin)\//,
  /^src\/tenant\/(key-check|inquire)\.ts$/,
  /^src\/http\/(body|cors|errors|parse|route)\.ts$/,
  /^src\/responses\/(responses-object|previous-response|idempotency|routes)\.ts$/,
  // Pure, but native.
  /^src\/(tenant\/ledger\/sha256|tenant\/life\/read-export|auth\/dispatch-proof)\.ts$/,
  /^src\/tenant\/(tenant-object|webhooks\/deliver)\.ts$/,
  /^src\/alerts\/alerts-object\.ts$/,
  /^src\/billing\/stripe-provider\.ts$/,
  /^src\/fleet\/(fleet-object|queue-status|heartbeats|health|worker-answer)\.ts$/,
  /^src\/chat\/(?!(prepare|headers|hosted-usage|chat-bytes|answered|attempts)\.ts$)/,
  /^src\/settlement\/receipts\.ts$/,
  // Pages are made with Hono’s escaping. The code in quickstarts reads a key from the environment.
  /^src\/docs\/(docs|layout|reference-page|texts|quickstarts)\.ts$/,
  /^gpu-worker\/(main|worker|config|count-tokens|create-engine|server|run-dispatch|media-reading|signed-body|connections|operator-port|relay|outbox|outbox-lock|receipts|delivery|heartbeat|life|watchdog|watchdog-thread)\.ts$/,
  /^gpu-worker\/engine\/(child|fork|llama|embedded|model-file|cpu|install-gpu|process-guard|launch|supervisor|calls|http|http-run|grammar-child|grammar-reader|grammar-service|child-watch|child-watch-thread|orphan)\.ts$/,
  /^gpu-worker\/media\/(fetch|pdf|pdf-thread|resolver|work-timer)\.ts$/,
  /^gpu-worker\/(doctor\/main|plan\/main|gpu\/detect-gpus)\.ts$/,
]

/** Words that no text of the product uses; see `test/spec/readme.md`. */
const bannedWords =
  /\b(told|tells?|telling|whoever|whatever|anew|of late|lately|nobody|somebody|beside|what is left|gives? back|given back|goes on|went on|for good|house|rooms?|the line|greedy|guests?|borders?|desks?|purses?|markets?|knocks?|sight|voice|booking)\b/gi
/** Data: the toy model's lessons, what engines and vendors print, stylesheets, the tables of a database that exists. */
const notProse =
  /^(test\/gpu-worker\/engine\/golden-prompts\.test\.ts|test\/tools\/(toy-model|eval|agents)\/|test\/tools\/conformance\/(records|documented)\/|test\/spec\/readme\.md|test\/tidy\.test\.ts|src\/docs\/assets\/)|\.(css|svg|json)$|^src\/tenant\/store\/(schema|limit-columns)\.ts$/

/** Comments, strings and names of a program; the prose of a document. */
function prose(path: string): string {
  const text = read(path)
  if (path.endsWith('.md')) return text.replace(/```[\s\S]*?```|`[^`\n]*`/g, '')
  const asked = text.replace(/Tell (me|us) [^'"`\n]*/g, '')
  return asked.replace(/([a-z0-9])([A-Z])/g, '$1 $2')
}

/** Commits before this are not checked. */
const conventionSince = '2026-11-27T20:30:00Z'

/** From the lowest to the highest: a file imports from its own folder and from those before it. */
const layers = {
  src: [
    'http',
    'auth',
    'config',
    'fleet',
    'tenant',
    'alerts',
    'dialects',
    'responses',
    'settlement',
    'chat',
    'admin',
    'account',
    'billing',
    'docs',
    'top',
    'local',
  ],
  backends: ['model', 'wire', 'contract', 'engines'],
  'gpu-worker': ['engine', 'media', 'gpu', 'top', 'plan', 'doctor'],
} as const

function layerOf(path: string): number {
  const [house = '', folder = ''] = path.split('/')
  const order: readonly string[] = layers[house as keyof typeof layers]
  const config = /^src\/(config|gateway-environment)\.ts$/.test(path)
  return order.indexOf(config ? 'config' : folder.includes('.') ? 'top' : folder)
}

const imports = (text: string) =>
  [...text.matchAll(/^(?:import|export)\s[^'"]*?from\s+['"]([^'"]+)['"]/gm)].map((match) => match[1] ?? '')

const importsOf = new Map(
  sources
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [
      path,
      imports(read(path))
        .filter((from) => from.startsWith('.'))
        .map((from) => new URL(from, `file:///${path}`).pathname.slice(1)),
    ]),
)

/** The files of one import cycle; none where there is no cycle. */
function cycle(): string[] {
  const done = new Set<string>()
  const visit = (path: string, above: string[]): string[] => {
    const at = above.indexOf(path)
    if (at >= 0) return above.slice(at)
    if (done.has(path)) return []
    done.add(path)
    for (const next of importsOf.get(path) ?? []) {
      const found = visit(next, [...above, path])
      if (found.length > 0) return found
    }
    return []
  }
  for (const path of importsOf.keys()) {
    const found = visit(path, [])
    if (found.length > 0) return found
  }
  return []
}

describe('the repository', () => {
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

  it('[TDY6] a file of rules names the folders of its tests', () => {
    const folders = new Map<string, Set<string>>()
    for (const path of files.filter((each) => each.endsWith('.test.ts'))) {
      const folder = path.replace(/(?<=^test\/.+\/)[^/]*$/, '')
      for (const [, id = ''] of read(path).matchAll(/\[([A-Z0-9]+\d+)\] /g)) {
        const known = folders.get(id) ?? new Set()
        folders.set(id, known.add(folder))
      }
    }
    for (const path of specs) {
      const ids = [...read(path).matchAll(/^\| ([A-Z0-9]+\d+) \|/gm)].map(([, id = '']) => id)
      const expected = [...new Set(ids.flatMap((id) => [...(folders.get(id) ?? [])]))].sort()
      const named = /Tests: ([^\n]*)\.$/m
        .exec(read(path))?.[1]
        ?.split(', ')
        .map((each) => each.slice(1, -1))
      expect(named, path).toEqual(expected)
    }
  })

  it('[TDY6] a rule is a plain sentence with a full stop, in a file named with letters and hyphens', () => {
    expect(specs.filter((path) => !/^test\/spec\/[a-z-]+\.md$/.test(path))).toEqual([])
    const rows = specs.flatMap((path) => read(path).match(/^\| [A-Z0-9]*\d.*$/gm) ?? [])
    expect(rows).toEqual(rules.map(({ id, sentence }) => `| ${id} | ${sentence} |`))
    expect(rules.filter(({ sentence }) => !/^[A-Z`].*\.$/.test(sentence))).toEqual([])
    // Code is not prose: it may contain any word.
  })

  it('[TDY7] no import closes a cycle, and none points to a higher folder', () => {
    expect(cycle()).toEqual([])
    const upward = [...importsOf].flatMap(([path, targets]) =>
      targets
        .filter((target) => target.split('/')[0] === path.split('/')[0] && layerOf(target) > layerOf(path))
        .map((target) => `${path} imports ${target}`),
    )
    expect(upward).toEqual([])
    expect([...importsOf.keys()].filter((path) => layerOf(path) < 0)).toEqual([])
  })

  it('[TDY8] no text, comment or name uses a word of the old idiom', () => {
    const texts = files.filter((path) => /\.(ts|mjs|js|md|toml|yml)$/.test(path) && !notProse.test(path))
    const found = texts.flatMap((path) => [...prose(path).matchAll(bannedWords)].map(([word]) => `${path}: ${word}`))
    expect(found).toEqual([])
  })

  it('[TDY9] the subject of a commit is "area: what it does", in at most 72 characters', () => {
    const log = execFileSync('git', ['log', '--no-merges', '--format=%s', `--since=${conventionSince}`], {
      cwd: root,
      encoding: 'utf8',
    })
    const subjects = log.split('\n').filter((subject) => subject !== '')
    expect(
      subjects.filter((subject) => subject.length > 72 || !/^[a-z0-9][a-z0-9 ,-]*: \S.*[^.]$/.test(subject)),
    ).toEqual([])
  })

  it('[TDY10] the name of a type is declared in one file of the product', () => {
    const declared = new Map<string, Set<string>>()
    for (const path of sources)
      for (const [, name = ''] of read(path).matchAll(/^(?:export )?(?:interface|type|class|enum) (\w+)/gm))
        declared.set(name, (declared.get(name) ?? new Set()).add(path))
    expect([...declared].filter(([, paths]) => paths.size > 1)).toEqual([])
  })
})
