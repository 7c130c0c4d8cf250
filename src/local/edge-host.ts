/**
 * The edge on this machine: the deployable bundle in workerd, with Miniflare's simulators behind its bindings and its
 * own socket. Runs as a child process of `start.ts` and reports workerd's process id, so that the parent can stop
 * workerd if this host dies.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'
import { unstable_getMiniflareWorkerOptions, unstable_splitSqlQuery } from 'wrangler'
import { z } from 'zod'

const HostOptions = z.object({
  root: z.string(),
  home: z.string(),
  build: z.string(),
  host: z.string(),
  port: z.number(),
  bindings: z.record(z.string(), z.string()),
  inspectorPort: z.number().optional(),
})
export type EdgeOptions = z.infer<typeof HostOptions>

const hostOptions = HostOptions.parse(JSON.parse(process.env.TRAMONTANE_EDGE_ORDER ?? '{}'))

// Both helpers are unstable by name and pinned by version. Their types disagree about the shape of the options.
const { workerOptions } = unstable_getMiniflareWorkerOptions(join(hostOptions.root, 'wrangler.toml')) as unknown as {
  workerOptions: Record<string, unknown> & {
    bindings: Record<string, unknown>
    durableObjects: Record<string, { className: string }>
  }
}
/** A renamed class keeps its objects, because Miniflare derives an object's id from this key. */
const uniqueKeys: Record<string, string> = {
  FleetObject: 'tramontane-PoolObject',
  ResponsesObject: 'tramontane-AnswersObject',
}
for (const object of Object.values(workerOptions.durableObjects)) {
  const unsafeUniqueKey = uniqueKeys[object.className]
  if (unsafeUniqueKey) Object.assign(object, { unsafeUniqueKey })
}
const options = convertV4MiniflareOptions({
  workers: [
    {
      ...workerOptions,
      name: 'tramontane',
      modules: [{ type: 'ESModule', path: join(hostOptions.build, 'index.js') }],
      rootPath: hostOptions.build,
      bindings: { ...workerOptions.bindings, ...hostOptions.bindings },
      unsafeDirectSockets: [{ host: hostOptions.host, port: hostOptions.port }],
    },
  ],
  resourcePersistencePath: join(hostOptions.home, 'edge'),
  cf: false,
  ...(hostOptions.inspectorPort !== undefined && { inspectorPort: hostOptions.inspectorPort }),
  log: new Log(LogLevel.ERROR),
} as unknown as Parameters<typeof convertV4MiniflareOptions>[0])

const miniflare = new Miniflare(options)
// The parent handles signals. Ctrl-C reaches the whole process group and must not cut open streams here.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)
process.on('disconnect', () => drain())
process.on('message', (message) => {
  if (message === 'drain') drain()
})

await miniflare.ready
await migrate()
const url = await miniflare.unsafeGetDirectURL('tramontane')
const workerdPid = childPid()
let draining = false
process.send?.({ kind: 'ready', url: url.origin, workerdPid })
// Without workerd this host exits. The parent restarts both, unless it requested the stop.
if (workerdPid !== null) {
  setInterval(() => {
    if (!isAlive(workerdPid)) process.exit(draining ? 0 : 1)
  }, 50)
}

/** Like `wrangler d1 migrations apply`: the same files, and the same record of applied migrations. */
async function migrate(): Promise<void> {
  const db = await miniflare.getD1Database('DB', 'tramontane')
  await db
    .prepare(
      `CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE,
        applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`,
    )
    .run()
  const { results } = await db.prepare('SELECT name FROM d1_migrations').all<{ name: string }>()
  const applied = new Set(results.map((row) => row.name))
  const folder = join(hostOptions.root, 'src', 'admin', 'migrations')
  const names = readdirSync(folder).filter((name) => name.endsWith('.sql') && !applied.has(name))
  for (const name of names.sort()) {
    const statements = unstable_splitSqlQuery(readFileSync(join(folder, name), 'utf8'))
    const record = db.prepare('INSERT INTO d1_migrations (name) VALUES (?)').bind(name)
    await db.batch([...statements.map((statement) => db.prepare(statement)), record])
  }
}

/** On SIGTERM, workerd stops accepting and finishes its streams without a deadline. The parent has one. */
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

/** The only child of this process is workerd. */
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
