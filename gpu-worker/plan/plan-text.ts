/** A hardware plan for the terminal, in Markdown. The guide takes the cells. */
import { cacheBytesPerToken, smallFourLayers } from '../gpu/checkpoints.ts'
import { gpusText } from '../gpu/gpus.ts'
import { type Figure, type FigureOrigin, type HardwarePlan, type Host, type PlanRow, titles } from './plan-row.ts'

const marks: Record<FigureOrigin, string> = { recipe: 'r', computed: 'c', estimated: 'e', profile: 'p' }

const originLegend =
  'Origin of each number: r the published recipe, c computed from the model’s configuration, e estimated, p Tramontane’s profile. None was measured on a GPU.'

/** For the terminal. */
export function planText(host: Host, plan: HardwarePlan): string {
  const [best] = plan.rows
  const offloaded = plan.rows.filter(({ offload }) => offload !== null)
  const remarked = plan.rows.filter(({ remarks }) => remarks.length > 0)
  return [
    `Mistral Small 4 on ${gpusText(host.gpus)}, ${Math.round(host.memoryBytes / gibibyte)} GB of memory`,
    ...(best ? [table(planHead, plan.rows.map(planCells)), originLegend, cacheText] : []),
    ...(offloaded.length > 0 ? [table(offloadHead, offloaded.map(offloadCells)), offloadText] : []),
    ...(remarked.length > 0 ? [list(remarked.map((row) => `${titleOf(row)}: ${row.remarks.join('; ')}.`))] : []),
    ...(plan.misfits.length > 0 ? [`Does not fit:\n\n${list(plan.misfits)}`] : []),
    best ? runText(best) : nothingText,
  ]
    .map((part) => `${part}\n`)
    .join('\n')
}

const gibibyte = 1_073_741_824
const list = (lines: string[]) => lines.map((line) => `- ${line}`).join('\n')
const titleOf = ({ engine, form, gpus }: PlanRow) => `${titles[engine]}, ${form}, ${gpus === 0 ? 'CPU' : `${gpus} GPU`}`

const cacheText = `A token takes ${cacheBytesPerToken / 1_024} KiB of the cache (c), on each GPU of a tensor-parallel replica: one request of 262,144 tokens takes ${((262_144 * cacheBytesPerToken) / 1e9).toFixed(1)} GB.`

const offloadText =
  'Speeds are upper bounds for one request: memory of 60 GB/s, a GPU of 1,000 GB/s, and PCIe 4.0 × 16 for prompts (without a GPU, about 1 TFLOP/s). Requests at once share them.'

const nothingText =
  'Nothing fits. Serve the hosted API as a last resort (HOSTED_URL), try the product with its toy model (npm start), or plan other hardware: npm run plan -- --gpus 1xRTX4090-24 --memory 64.'

const install: Record<PlanRow['engine'], string> = {
  vllm: 'uv pip install "vllm>=0.33" "mistral_common>=1.11.6,<1.13"',
  sglang: 'uv pip install "sglang>=0.5.23"',
  'llama-cpp': 'llama-server --version   # llama.cpp v0.4.0 or newer, from your system or built from its source',
}

function runText({ engine, commands }: PlanRow): string {
  return [
    'To run the first row: install the engine, then start the worker of each pool. A worker needs TRAMONTANE_EDGE_URL and its own TRAMONTANE_WORKER_KEY (src/docs/guides/deploy.md).',
    '',
    `  ${install[engine]}`,
    ...commands.map((command) => `  ${command}`),
    '',
    'npm run worker -- --print-launch, with the same variables, prints the engine’s own command.',
  ].join('\n')
}

export const planHead = [
  'engine',
  'form',
  'weights',
  'replicas × GPUs',
  'tensor parallel',
  'context',
  'slots (latency, throughput)',
  'cache of a replica',
]

export function planCells(row: PlanRow): string[] {
  const { engine, form, weightsBytes, gpus, tensorParallel, replicas, contextTokens, slots, cacheTokens } = row
  return [
    titles[engine],
    form,
    `${gigabytes(weightsBytes.value)} ${marks[weightsBytes.origin]}`,
    gpus === 0 ? 'CPU' : `${replicas} × ${gpus}`,
    engine === 'llama-cpp' && gpus > 1 ? 'by layers' : marked(tensorParallel),
    marked(contextTokens),
    slots.throughput ? `${marked(slots.latency)}, ${marked(slots.throughput)}` : marked(slots.latency),
    `${marked(cacheTokens)} tokens`,
  ]
}

export const offloadHead = [
  'form',
  'layers with experts on the CPU',
  'memory of the CPU',
  'tokens a second, at most',
  'prompt tokens a second, at most',
]

export function offloadCells({ form, offload }: PlanRow): string[] {
  if (!offload) return [form]
  const { layers, cpuBytes, tokensPerSecondMax, promptTokensPerSecondMax } = offload
  return [
    form,
    `${marked(layers)} of ${smallFourLayers}`,
    `${gigabytes(cpuBytes.value)} ${marks[cpuBytes.origin]}`,
    marked(tokensPerSecondMax),
    marked(promptTokensPerSecondMax),
  ]
}

function marked(figure: Figure | null): string {
  return figure ? `${Math.floor(figure.value).toLocaleString('en-US')} ${marks[figure.origin]}` : ''
}

function gigabytes(bytes: number): string {
  return `${Math.round(bytes / 1e9)} GB`
}

/** Markdown whose columns have one width. */
function table(head: string[], rows: string[][]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((cells) => (cells[column] ?? '').length)),
  )
  const line = (cells: string[]) =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join(' | ')} |`
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)].join('\n')
}
