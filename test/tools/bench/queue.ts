/**
 * `node test/tools/bench/queue.ts`: the cost of one event in the queue and in the pool, and how it grows.
 *
 * Each figure is a mean over many events at a constant length. Queue: enqueue a request, dequeue the next, cancel any,
 * look up a position. Pool of 200 workers with 4 slots each, all leased: a request arrives and waits; a request ends
 * and passes its slot to the next.
 */

import { lease, release } from '../../../src/fleet/fleet.ts'
import { observeTokens } from '../../../src/fleet/placement/worker-speed.ts'
import { FairQueue, type Queued, waitingPerTenantMax } from '../../../src/fleet/queue/fair-queue.ts'
import { heartbeat } from '../../../src/fleet/registry.ts'
import { emptyFleet, type LeaseRequest } from '../../../src/fleet/state.ts'
import { waitView } from '../../../src/fleet/views.ts'
import { testBeat } from '../../support/fleet.ts'

const lengths = [10, 100, 1_000, 20_000]
const tenantCounts = [1, 10, 100, 1_000]
const workers = 200
const slotsEach = 4
const measureMs = 40
const warmMs = 10

let serial = 0

function ask(tenants: number): LeaseRequest & Queued {
  serial += 1
  return {
    requestId: `req_${serial}`,
    tenantId: `tenant${serial % tenants}`,
    model: 'm',
    weight: 50 + (serial % 7) * 50,
    priorityClass: serial % 5 === 0 ? 'batch' : 'interactive',
    costTokens: 200 + (serial % 97) * 40,
    exclude: [],
    again: false,
    dueMs: 1_500,
    effort: serial % 3 === 0 ? 'high' : 'none',
    promptTokens: 200 + (serial % 97) * 10,
    outputTokensMax: 4_096,
    prefix: [{ hash: serial % tenants, tokens: 200 }],
    effortUnderLoad: null,
  }
}

/** Microseconds per call of `measured`, timed in blocks; untimed `restore` calls bring the length back. */
function microsOf(length: number, measured: (index: number) => void, restore: (count: number) => void): number {
  const block = Math.max(1, Math.min(100, Math.floor(length / 4)))
  const run = (ms: number): number => {
    let spent = 0
    let count = 0
    while (spent < ms) {
      const start = performance.now()
      for (let index = 0; index < block; index++) measured(index)
      spent += performance.now() - start
      count += block
      restore(block)
      // Restoring also takes time: stop in any case.
      if (count >= 200_000) break
    }
    return (1_000 * spent) / count
  }
  run(warmMs)
  return run(measureMs)
}

function queueRow(length: number, tenants: number): number[] {
  const queue = new FairQueue<Queued>(({ model }) => model)
  let ids: string[] = []
  const add = () => {
    const item = ask(tenants)
    ids.push(item.requestId)
    queue.add(item, 0)
  }
  for (let index = 0; index < length; index++) add()
  const take = () => queue.take('m', 0)
  const refresh = () => {
    ids = queue.waitingFor('m').map((entry) => entry.item.requestId)
  }
  const times = (work: () => void) => (count: number) => {
    for (let index = 0; index < count; index++) work()
  }
  const enqueue = microsOf(length, add, times(take))
  const dequeue = microsOf(length, take, times(add))
  refresh()
  let pick = 0
  const anyId = () => {
    pick = (pick + 7_919) % ids.length
    return pick
  }
  const cancel = microsOf(
    length,
    () => {
      const place = anyId()
      queue.remove(ids[place] ?? '')
      const last = ids.pop()
      if (last !== undefined && place < ids.length) ids[place] = last
    },
    times(add),
  )
  const standing = microsOf(
    length,
    () => queue.standing(ids[anyId()] ?? ''),
    () => undefined,
  )
  return [enqueue, dequeue, cancel, standing]
}

const beat = (index: number) => testBeat(`w${index}`, { slotsMax: slotsEach })

function poolRow(length: number, tenants: number): number[] {
  const pool = emptyFleet()
  for (let index = 0; index < workers; index++) heartbeat(pool, beat(index), 1, 0)
  const running: string[] = []
  const come = () => {
    const asked = ask(tenants)
    const outcome = lease(pool, asked, 1, ({ requestId }) => console.error(`${requestId} was removed from the queue`))
    if (outcome?.kind === 'granted') running.push(asked.requestId)
  }
  let at = 0
  const end = () => {
    at = (at + 1) % running.length
    for (const notification of release(pool, running[at] ?? '', 1)) running[at] = notification.requestId
  }
  for (let index = 0; index < workers * slotsEach + length; index++) come()
  const times = (work: () => void) => (count: number) => {
    for (let index = 0; index < count; index++) work()
  }
  const waits = microsOf(length, come, times(end))
  const ends = microsOf(length, end, times(come))
  const ids = pool.queue.waitingFor('m').map((entry) => entry.item.requestId)
  const asks = microsOf(
    length,
    (index) => waitView(pool, ids[index % ids.length] ?? '', 2),
    () => undefined,
  )
  const beats = microsOf(
    length,
    (index) => heartbeat(pool, { ...beat(index % workers), running: [...heldBy(pool, index % workers)] }, 1, 1),
    () => undefined,
  )
  return [waits, ends, asks, beats]
}

function heldBy(pool: ReturnType<typeof emptyFleet>, index: number): Iterable<string> {
  return pool.workers.get(`w${index}`)?.leases.keys() ?? []
}

/** Places a request among 200 workers with free slots and known speeds, so that each worker is evaluated. */
function placeMicros(): number {
  const pool = emptyFleet()
  for (let index = 0; index < workers; index++) {
    const home = index % 2 === 0 ? 'latency' : 'throughput'
    heartbeat(pool, { ...beat(index), pool: home, slotsMax: 64 }, 1, 0)
  }
  for (const speed of pool.speeds.values()) observeTokens(speed, 8, 1_000, 100, 0)
  const placed: string[] = []
  const come = () => {
    const asked = ask(100)
    if (lease(pool, asked, 1, () => undefined)?.kind === 'granted') placed.push(asked.requestId)
  }
  for (let index = 0; index < workers * 4; index++) come()
  const end = (count: number) => {
    for (const id of placed.splice(0, count)) release(pool, id, 1)
  }
  return microsOf(400, come, end)
}

const head = [
  'waiting',
  'tenants',
  'enqueue',
  'dequeue',
  'cancel',
  'position',
  'pool: arrival',
  'pool: end',
  'pool: position',
  'pool: heartbeat',
]
const rows = lengths.flatMap((length) =>
  tenantCounts
    .filter((tenants) => tenants <= length)
    .map((tenants) => {
      // A single tenant cannot fill the queue.
      const waiting = Math.min(length - 200 * Number(length === 20_000), tenants * waitingPerTenantMax - 200)
      const figures = [...queueRow(waiting, tenants), ...poolRow(waiting, tenants)]
      return [String(waiting), String(tenants), ...figures.map((micros) => micros.toFixed(2))]
    }),
)
const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)))
const line = (row: string[]) => `| ${row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join(' | ')} |`
console.log(`Microseconds per event; ${workers} workers of ${slotsEach} slots; Node ${process.version}`)
console.log(
  [line(head), `|${widths.map((width) => `${'-'.repeat(width + 1)}:`).join('|')}|`, ...rows.map(line)].join('\n'),
)
console.log(`One placement among ${workers} workers with free slots: ${placeMicros().toFixed(1)} µs`)
