/** The generated parts of the guides, between markers, from the product's own data. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { effortWords, mapEffort } from '../../backends/model/effort.ts'
import { errorTable } from '../../backends/model/errors.ts'
import { documentBytesMax, documentsMax, imageBytesMax, imagePixelsMax, imagesMax } from '../../backends/model/media.ts'
import { findModel } from '../../backends/model/model.ts'
import { modelAliases } from '../../backends/model/model-alias.ts'
import { EngineEnvironment, WorkerEnvironment } from '../../gpu-worker/config.ts'
import { readGpuList } from '../../gpu-worker/gpu/gpus.ts'
import { hardwarePlan } from '../../gpu-worker/plan/hardware-plan.ts'
import { offloadCells, offloadHead, planCells, planHead } from '../../gpu-worker/plan/plan-text.ts'
import { profileOf } from '../../gpu-worker/profile.ts'
import { budgetsMarkdown } from '../../src/docs/budgets-table.ts'
import { type AgentQuickstart, agentQuickstarts, sdkQuickstarts } from '../../src/docs/quickstarts.ts'
import { GatewayEnvironment } from '../../src/gateway-environment.ts'
import { snakeName } from '../../src/http/snake-case.ts'
import { StartEnvironment } from '../../src/local/environment.ts'
import { TenantSettings } from '../../src/tenant/tenant-settings.ts'

export const guides = fileURLToPath(new URL('../../src/docs/guides/', import.meta.url))
const place = { origin: 'http://127.0.0.1:8787', model: 'tramontane-tiny' }

/** The guide with up-to-date generated parts. */
export function regenerate(file: string, text: string): string {
  return Object.entries(parts[file] ?? {}).reduce((guide, [marker, make]) => {
    const section = new RegExp(`(<!-- ${marker} -->\n)([\\s\\S]*?)(<!-- /${marker} -->)`)
    if (!section.test(guide)) throw new Error(`${file} has no markers <!-- ${marker} --> and <!-- /${marker} -->`)
    return guide.replace(
      section,
      (_, open: string, old: string, close: string) => `${open}${make(old).trim()}\n${close}`,
    )
  }, text)
}

type Make = (old: string) => string
export const parts: Record<string, Record<string, Make>> = {
  'api.md': { efforts: () => effortsTable(), aliases: () => aliasesTable() },
  'errors.md': { errors: errorsTable },
  'limits.md': { budgets: () => budgetsMarkdown(), media: () => mediaTable() },
  'engines.md': { profiles: () => profilesTable() },
  'hardware.md': { hardware: () => hardwareTable(), offload: () => offloadTable() },
  'sdks.md': { sdks: () => sdkSections(), agents: () => agentQuickstarts.map(agentSection).join('\n') },
  'settings.md': {
    start: () => settingsTable(StartEnvironment),
    gateway: () => settingsTable(GatewayEnvironment),
    worker: () => settingsTable(WorkerEnvironment),
    engine: () => settingsTable(EngineEnvironment),
    tenant: () => settingsTable(TenantSettings, snakeName),
  },
}

export function updateGuides(): void {
  for (const file of Object.keys(parts)) {
    const path = guides + file
    writeFileSync(path, regenerate(file, readFileSync(path, 'utf8')))
  }
}

function effortsTable(): string {
  const levels = findModel('mistral-small-4')?.efforts ?? []
  const rows = effortWords.map((word) => [`\`${word}\``, `\`${mapEffort(word, levels, 'none').effective}\``])
  return table(
    ['requested', 'served by Mistral Small 4'],
    [...rows, ['not set', `\`${mapEffort(undefined, levels, 'none').effective}\``]],
  )
}

function aliasesTable(): string {
  return table(
    ['name', 'served by', 'default effort', 'deprecated since'],
    modelAliases.map(({ id, target, effort, deprecatedOn }) => [
      `\`${id}\``,
      `\`${target}\``,
      effort ? `\`${effort}\`` : '',
      deprecatedOn ?? '',
    ]),
  )
}

/** The advice is written by hand and is preserved. */
function errorsTable(old: string): string {
  const advice = new Map([...old.matchAll(/^\| `(\w+)` \|.*\| ([^|]*) \|$/gm)].map(([, code, text]) => [code, text]))
  const rows = Object.entries(errorTable).map(([code, { status, type, retry }]) => [
    `\`${code}\``,
    String(status),
    `\`${type}\``,
    retry ? 'yes' : 'no',
    advice.get(code) ?? '',
  ])
  return table(['code', 'status', 'type', 'retryable', 'what to do'], rows)
}

function mediaTable(): string {
  const mebibytes = (bytes: number) => `${bytes / 1_048_576} MiB`
  return table(
    ['item', 'maximum'],
    [
      ['images in a request, including tool results', String(imagesMax)],
      ['size of an image, decoded from base64', mebibytes(imageBytesMax)],
      ['pixels of an image', imagePixelsMax.toLocaleString('en-US')],
      ['pixels of all images and page pictures of a request', budgets.requestPixels.value.toLocaleString('en-US')],
      ['documents in a request', String(documentsMax)],
      ['size of a document', mebibytes(documentBytesMax)],
      ['pages of a document', '100'],
      ['time to read a document', '20 s'],
      ['pages of a document that are also sent as images', '20'],
      ['redirects of an address', '3'],
      ['time to fetch one address', '10 s'],
      ['time to fetch all addresses of a request', '60 s'],
    ],
  )
}

function profilesTable(): string {
  const engines = ['embedded', 'vllm', 'sglang', 'llama-cpp', 'other']
  const rows = engines.flatMap((engine) =>
    (['latency', 'throughput'] as const).map((pool) => {
      const { slotsMax, batchTokens, prefillChunkTokens, speculationTokens, contextTokensMax } = profileOf(engine, pool)
      const numbers = [slotsMax, batchTokens, prefillChunkTokens, speculationTokens, contextTokensMax]
      return [
        engine === 'other' ? 'others' : `\`${engine}\``,
        `\`${pool}\``,
        ...numbers.map((number) => number.toLocaleString('en-US')),
      ]
    }),
  )
  return table(
    [
      'engine',
      'pool',
      'slots',
      'tokens a step',
      'prompt tokens a step',
      'draft tokens, if a draft is set',
      'context tokens',
    ],
    rows,
    2,
  )
}

/** The claims of the model's announcement (four H100, 24 GB) and common hosts. */
const hosts: [gpus: string, memoryGib: number][] = [
  ['4xH100-80', 512],
  ['2xH100-80', 256],
  ['1xH100-80', 256],
  ['2xH200-141', 512],
  ['1xB200-180', 512],
  ['2xMI300X-192', 512],
  ['4xA100-80', 512],
  ['1xRTX PRO 6000-96', 128],
  ['2xRTX5090-32', 128],
  ['1xRTX4090-24', 64],
  ['none', 128],
]
const smallHosts: [gpus: string, memoryGib: number][] = [
  ['1xRTX5090-32', 64],
  ['1xRTX4090-24', 64],
  ['1xRTX4090-24', 32],
  ['1xRTX4060-8', 64],
  ['none', 128],
]

function planOf(gpus: string, memoryGib: number) {
  const list = readGpuList(gpus)
  if (!list.ok) throw new Error(list.message)
  return hardwarePlan({ gpus: list.gpus, memoryBytes: memoryGib * 2 ** 30 })
}

function hardwareTable(): string {
  const rows = hosts.flatMap(([gpus, memoryGib]) =>
    planOf(gpus, memoryGib)
      .rows.slice(0, 3)
      .map((row, index) => [index === 0 ? `${gpus}, ${memoryGib} GB` : '', ...planCells(row)]),
  )
  return table(['GPUs and memory', ...planHead], rows)
}

function offloadTable(): string {
  const rows = smallHosts.flatMap(([gpus, memoryGib]) =>
    planOf(gpus, memoryGib)
      .rows.filter(({ offload }) => offload)
      .map((row, index) => [index === 0 ? `${gpus}, ${memoryGib} GB` : '', ...offloadCells(row)]),
  )
  return table(['GPUs and memory', ...offloadHead], rows)
}

function sdkSections(): string {
  return sdkQuickstarts
    .map(
      ({ title, packages, code }) =>
        `### ${title}\n\n\`npm install ${packages.join(' ')}\`\n\n\`\`\`js\n${code(place)}\`\`\`\n`,
    )
    .join('\n')
}

function agentSection(agent: AgentQuickstart): string {
  const environment = Object.entries(agent.environment(place)).map(([name, value]) => `export ${name}=${value}\n`)
  const setup = agent.setup ? `${agent.setup(place)}\n` : ''
  const command = agent.command(place).replace('$PROMPT', 'What does this project do?')
  const files = Object.entries(agent.files(place)).map(
    ([path, text]) => `\`${path}\`:\n\n\`\`\`${path.split('.').pop()}\n${text}\`\`\`\n\n`,
  )
  return `### ${agent.title}\n\n\`npm install -g ${agent.package}\` (run with ${agent.version})\n\n${files.join('')}\`\`\`sh\n${environment.join('')}${setup}${command}\n\`\`\`\n`
}

/** Being removed from the product. */
const undocumented: string[] = []

export function settingsOf(schema: z.ZodObject): { name: string; field: z.ZodType }[] {
  return Object.entries(schema.shape as Record<string, z.ZodType>)
    .filter(([name]) => !undocumented.includes(name))
    .map(([name, field]) => ({ name, field }))
}

function settingsTable(schema: z.ZodObject, written = (name: string) => name): string {
  const rows = settingsOf(schema).map(({ name, field }) => {
    const json = z.toJSONSchema(field, { io: 'input', unrepresentable: 'any' }) as Json
    const required = !field.safeParse(undefined).success
    return [
      `\`${written(name)}\``,
      values(json),
      required
        ? 'required'
        : json.default === undefined || json.default === ''
          ? ''
          : `\`${JSON.stringify(json.default).replace(/^"(.*)"$/, '$1')}\``,
      description(field, json),
    ]
  })
  return table(['name', 'values', 'default', 'what it does'], rows)
}

function description(field: z.ZodType, json: Json): string {
  return field.description ?? String(json.description ?? '')
}

interface Json {
  [key: string]: unknown
  enum?: unknown[]
  items?: Json
  anyOf?: Json[]
}

function values(json: Json): string {
  if (typeof json.values === 'string') return json.values
  if (json.const !== undefined) return `\`${String(json.const)}\``
  if (json.enum) return json.enum.map((value) => `\`${String(value)}\``).join(', ')
  if (json.type === 'array') return `list, at most ${json.maxItems}`
  if (json.format === 'uri') return 'URL'
  if (json.type === 'integer' || json.type === 'number') {
    const max = json.maximum as number | undefined
    const min = json.minimum as number | undefined
    const bounded = max !== undefined && max < Number.MAX_SAFE_INTEGER
    return bounded
      ? `${number(min ?? 0)} to ${number(max)}`
      : min !== undefined && min >= 0
        ? `integer, at least ${number(min)}`
        : 'integer'
  }
  if (typeof json.minLength === 'number' && json.minLength > 1) return `text, at least ${json.minLength} characters`
  return 'text'
}

function number(value: number): string {
  return value.toLocaleString('en-US')
}

function table(head: string[], rows: string[][], left = head.length): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`.replace(/ {2,}/g, ' ')
  return [line(head), `|${head.map((_, index) => (index < left ? '---' : '---:')).join('|')}|`, ...rows.map(line)].join(
    '\n',
  )
}
