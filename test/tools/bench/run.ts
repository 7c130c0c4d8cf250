/**
 * `npm run bench`: measures the latency and CPU that the edge adds and the engine's throughput, in one table.
 *
 *   node test/tools/bench/run.ts [--quick] [--pin]
 *
 * `--quick` uses fewer requests and rounds (under two minutes instead of seven); its figures are rough. `--pin` puts
 * the servers on core 0 and the load and the worker on core 1, if `taskset` exists. On a shared machine the figures
 * mostly show the wait for a core: `chrt -r 5 npm run bench` gets priority, and the output reports it. All servers
 * listen on 127.0.0.1, and every process ends with this one.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { bundle } from '../../../src/local/bundle.ts'
import { home, startChild } from './children.ts'
import { benchLoad, type LoadKind, type Places, settled } from './edge.ts'
import { type Edge, ledger, onlyWorker, startEdge, startPassThrough, startWorker } from './servers.ts'
import { added, factor, type Results, table } from './table.ts'
import { benchTokens, startEngineWorker } from './tokens.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const quick = process.argv.includes('--quick')
const pin = process.argv.includes('--pin') && hasTaskset()
const serverCore = pin ? 0 : undefined
const loadCore = pin ? 1 : undefined

/** The product's targets for its edge, relative to a Worker that only forwards. */
const addedMsMax = 4
const cpuFactorMax = 2.5

const secondsMax = quick ? 150 : 600

/** Runs until the code is compiled and the heap has its size. */
const warmUp: LoadKind = { name: 'warm-up', outputTokens: 12, perSecond: null, count: quick ? 100 : 1_500 }
const loads: LoadKind[] = [
  { name: '12 tokens at once, 1 client', outputTokens: 12, perSecond: null, count: quick ? 80 : 200 },
  { name: '12 tokens at once, 20 requests/s', outputTokens: 12, perSecond: 20, count: quick ? 15 : 50 },
  { name: '12 tokens at once, 60 requests/s', outputTokens: 12, perSecond: 60, count: quick ? 40 : 150 },
  { name: '64 tokens one by one, 1 client', outputTokens: 64, perSecond: null, count: quick ? 8 : 25 },
  { name: '64 tokens one by one, 20 requests/s', outputTokens: 64, perSecond: 20, count: quick ? 20 : 80 },
  { name: '64 tokens one by one, 60 requests/s', outputTokens: 64, perSecond: 60, count: quick ? 60 : 180 },
]
const loadRounds = quick ? 3 : 5
const tokenRounds = quick ? 2 : 5

async function main(): Promise<void> {
  const startedAt = performance.now()
  console.log(machine())
  const edge = await startEdge(await bundle(root, home), serverCore)
  const load = await startChild('./load.ts', { core: loadCore })
  const results: Results = { loads: await edgeResults(edge, load), tokens: await tokenResults(edge, load) }
  console.log(`\n${table(results)}\n`)
  for (const { name, cells } of results.loads) console.log(verdict(name, added(cells).median, factor(cells).median))
  const seconds = Math.round((performance.now() - startedAt) / 1_000)
  console.log(
    `${await balance(edge)} ${seconds} s in total. Load average ${loadavg()
      .map((each) => each.toFixed(1))
      .join(' ')}.`,
  )
}

async function edgeResults(edge: Edge, load: Places['load']): Promise<Results['loads']> {
  const worker = await startWorker('./scripted-worker.ts', 'scripted', edge.url, {}, loadCore)
  const places: Places = { load, edge, worker, passThrough: await startPassThrough(worker.url, serverCore) }
  await benchLoad(places, warmUp, 1)
  const results: Results['loads'] = []
  for (const kind of loads) results.push({ name: kind.name, cells: await benchLoad(places, kind, loadRounds) })
  worker.child.stop()
  return results
}

async function tokenResults(edge: Edge, load: Places['load']): Promise<Results['tokens']> {
  const worker = await startEngineWorker(edge, 32)
  await onlyWorker(edge, 'embedded')
  const results: Results['tokens'] = []
  for (const concurrency of [1, 8, 32])
    results.push({ concurrency, cells: await benchTokens({ load, edge, worker }, concurrency, tokenRounds) })
  await settled(worker.url)
  return results
}

function verdict(load: string, addedMs: number, cpuFactor: number): string {
  const met = (value: number, bound: number) => (value <= bound ? 'met' : 'missed')
  return (
    `${load}: target of ≤ ${addedMsMax} ms added to the first token ${met(addedMs, addedMsMax)}, ` +
    `target of ≤ ${cpuFactorMax}× the pass-through's CPU ${met(cpuFactor, cpuFactorMax)}.`
  )
}

/** Throws if receipts were lost: the figures would be wrong. */
async function balance(edge: Edge): Promise<string> {
  const { entries, openReservations } = await ledger(edge)
  if (openReservations > 0) throw new Error(`${openReservations} reservations are still open: receipts were lost`)
  return `${entries} ledger entries, no reservation open.`
}

function machine(): string {
  const cores = cpus()
  const manifest = readFileSync(`${root}/node_modules/workerd/package.json`, 'utf8')
  const { version } = JSON.parse(manifest) as { version: string }
  return [
    `${cores.length} cores (${cores[0]?.model.trim()}), ${process.platform}, Node ${process.version}, workerd ${version}.`,
    `${pin ? 'Servers on core 0, load and workers on core 1' : 'No process is pinned to a core'}; ${priority()}.`,
    'Medians of rounds (min–max); p99 over all rounds. Paths alternate within a round; warm-up is excluded. Open-loop',
    'latency counts from the intended start. CPU includes receipts and heartbeats. One engine thread, 64 tokens out.',
  ].join('\n')
}

/** The scheduling policy: field 41 of `stat`, where 0 is the normal policy. */
function priority(): string {
  const load = `load average ${loadavg()[0]?.toFixed(1)} before the first request`
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8')
    const policy = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[38]
    return `${policy === '0' ? 'normal' : 'real-time'} priority, ${load}`
  } catch {
    return load
  }
}

function hasTaskset(): boolean {
  try {
    execFileSync('taskset', ['-V'], { stdio: 'ignore' })
    return cpus().length > 1
  } catch {
    return false
  }
}

setTimeout(() => {
  console.error(`the bench did not finish within ${secondsMax} s: the machine is too busy`)
  process.exit(1)
}, secondsMax * 1_000)
try {
  await main()
  process.exit(0)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
}
