/**
 * The edge on this machine: the deployable bundle in workerd, with Miniflare's simulators behind its bindings, reached
 * through a socket of its own. Runs as a child process of `start.ts` and tells it workerd's process id, which
 * the parent ends should this host die and leave it behind.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'
import { unstable_getMiniflareWorkerOptions } from 'wrangler'
import { z } from 'zod'

const Order = z.object({
  root: z.string(),
  home: z.string(),
  build: z.string(),
  host: z.string(),
  port: z.number(),
  bindings: z.record(z.string(), z.string()),
})
export type EdgeOrder = z.infer<typeof Order>

const order = Order.parse(JSON.parse(process.env.TRAMONTANE_EDGE_ORDER ?? '{}'))

// Both helpers are unstable by name and pinned by version; their types disagree about the options' shape.
const { workerOptions } = unstable_getMiniflareWorkerOptions(join(order.root, 'wrangler.toml')) as unknown as {
  workerOptions: Record<string, unknown> & { bindings: Record<string, unknown> }
}
const options = convertV4MiniflareOptions({
  workers: [
    {
      ...workerOptions,
      name: 'tramontane',
      modules: [{ type: 'ESModule', path: join(order.build, 'index.js') }],
      rootPath: order.build,
      bindings: { ...workerOptions.bindings, ...order.bindings },
      unsafeDirectSockets: [{ host: order.host, port: order.port }],
    },
  ],
  resourcePersistencePath: join(order.home, 'edge'),
  cf: false,
  log: new Log(LogLevel.ERROR),
} as unknown as Parameters<typeof convertV4MiniflareOptions>[0])

const miniflare = new Miniflare(options)
// The parent owns the signals; a Ctrl-C reaches the whole process group, and must not cut open streams here.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)
process.on('disconnect', () => drain())
process.on('message', (message) => {
  if (message === 'drain') drain()
})

await miniflare.ready
const url = await miniflare.unsafeGetDirectURL('tramontane')
const workerdPid = childPid()
let draining = false
process.send?.({ kind: 'ready', url: url.origin, workerdPid })
// Without its workerd this host is of no use: it ends, and its parent, unless it asked for it, starts both again.
if (workerdPid !== null) {
  setInterval(() => {
    if (!isAlive(workerdPid)) process.exit(draining ? 0 : 1)
  }, 50)
}

/** On SIGTERM workerd stops accepting and finishes its streams, without a deadline of its own: the parent has one. */
function drain(): void {
  draining = true
  if (workerdPid === null) process.exit(0)
  process.kill(workerdPid, 'SIGTERM')
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** The one child of this process is workerd. */
function childPid(): number | null {
  try {
    return (
      Number(readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ')[0]) || null
    )
  } catch {
    return psChild()
  }
}

function psChild(): number | null {
  try {
    const rows = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' }).split('\n')
    const row = rows.find((line) => line.trim().split(/\s+/)[1] === String(process.pid) && line.includes('workerd'))
    return row ? Number(row.trim().split(/\s+/)[0]) : null
  } catch {
    return null
  }
}
