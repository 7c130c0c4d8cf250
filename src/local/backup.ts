/**
 * `npm run backup -- FOLDER` copies the state of a local installation, also while it runs. `npm run restore -- FOLDER`
 * puts a copy into an empty state folder. A copy holds every secret of the installation.
 *
 * The workers' outboxes are copied first: a receipt that is delivered meanwhile is then in the copy of its outbox, in that
 * of its tenant, or in both, and a tenant posts it once.
 */
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { copyDatabase, isDatabase } from './copy-database.ts'
import { lockHome, writePrivate } from './home.ts'

const usage = 'usage: npm run backup -- FOLDER, or npm run restore -- FOLDER. TRAMONTANE_HOME names the state folder.'
const manifestName = 'manifest.json'
/** In the order in which they are copied. */
const parts = ['workers', 'edge', 'state.json']

const Manifest = z.object({
  backup: z.literal('tramontane-state'),
  version: z.literal(1),
  createdAt: z.int(),
  files: z.array(z.object({ path: z.string(), bytes: z.int(), sha256: z.string() })).max(100_000),
})

function main([command, folder, ...more]: string[]): number {
  if (folder === undefined || more.length > 0) return exitWith(usage, 2)
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const home = resolve(process.env.TRAMONTANE_HOME || join(root, '.tramontane'))
  try {
    if (command === 'save') return save(home, resolve(folder))
    return command === 'restore' ? restore(home, resolve(folder)) : exitWith(usage, 2)
  } catch (error) {
    return exitWith(error instanceof Error ? error.message : String(error), 1)
  }
}

function save(home: string, folder: string): number {
  if (!existsSync(join(home, 'state.json'))) return exitWith(`${home} has no state. Set TRAMONTANE_HOME.`, 2)
  if (existsSync(folder)) return exitWith(`${folder} exists. Name a new folder.`, 2)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const paths = parts.flatMap((part) => filesIn(join(home, part))).map((path) => relative(home, path))
  for (const path of paths) copyOne(join(home, path), join(folder, path))
  const files = paths.filter((path) => existsSync(join(folder, path))).map((path) => described(folder, path))
  const manifest: z.infer<typeof Manifest> = { backup: 'tramontane-state', version: 1, createdAt: Date.now(), files }
  writePrivate(join(folder, manifestName), JSON.stringify(manifest, null, 2))
  console.log(`saved ${files.length} files of ${home} in ${folder}. The copy holds all secrets: keep it private.`)
  return 0
}

function restore(home: string, folder: string): number {
  if (!existsSync(join(folder, manifestName))) return exitWith(`${folder} has no ${manifestName}: it is no backup.`, 2)
  const { files } = Manifest.parse(JSON.parse(readFileSync(join(folder, manifestName), 'utf8')))
  const damaged = files.find((file) => !isSame(folder, file))
  if (damaged) return exitWith(`${join(folder, damaged.path)} is missing or was changed. Nothing was restored.`, 1)
  const release = lockHome(home)
  const staging = join(home, 'restoring')
  try {
    const used = parts.find((part) => existsSync(join(home, part)))
    if (used)
      return exitWith(`${join(home, used)} exists. Move the state away, or set TRAMONTANE_HOME to another folder.`, 1)
    rmSync(staging, { recursive: true, force: true })
    for (const { path } of files) {
      mkdirSync(dirname(join(staging, path)), { recursive: true, mode: 0o700 })
      copyFileSync(join(folder, path), join(staging, path))
    }
    // The state comes last: without it, the folder is not in use.
    for (const part of parts) if (existsSync(join(staging, part))) renameSync(join(staging, part), join(home, part))
    console.log(`restored ${files.length} files in ${home}. Start with: npm start`)
    return 0
  } finally {
    rmSync(staging, { recursive: true, force: true })
    release()
  }
}

/** The files of a folder, or the file itself. The logs of databases are part of their database. */
function filesIn(path: string): string[] {
  if (!existsSync(path)) return []
  if (!statSync(path).isDirectory()) return /(-wal|-shm|\.sock|\/lock)$/.test(path) ? [] : [path]
  return readdirSync(path).flatMap((name) => filesIn(join(path, name)))
}

/** A file may be gone since the folder was read. */
function copyOne(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true, mode: 0o700 })
  if (!existsSync(from) || !statSync(from).isFile()) return
  if (isDatabase(from)) copyDatabase(from, to)
  else copyFileSync(from, to)
}

function described(folder: string, path: string): z.infer<typeof Manifest>['files'][number] {
  const bytes = readFileSync(join(folder, path))
  return { path, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
}

function isSame(folder: string, file: z.infer<typeof Manifest>['files'][number]): boolean {
  const inside = !relative(folder, resolve(folder, file.path)).startsWith('..')
  return inside && existsSync(join(folder, file.path)) && described(folder, file.path).sha256 === file.sha256
}

function exitWith(message: string, code: number): number {
  console.error(message)
  return code
}

process.exitCode = main(process.argv.slice(2))
