/** Builds the Worker exactly as `wrangler deploy` does, and reuses the bundle until a source file changes. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const inputs = ['src', 'backends', 'wrangler.toml', 'package-lock.json']

/** The bundle's folder. Throws with the compiler's output when the build fails. */
export async function bundle(root: string, home: string): Promise<string> {
  const out = join(home, 'build')
  const stampFile = join(out, 'stamp')
  const stamp = fingerprint(root)
  if (readIfThere(stampFile) === stamp) return out
  const wrangler = join(root, 'node_modules', 'wrangler', 'bin', 'wrangler.js')
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', WRANGLER_LOG_PATH: join(home, 'wrangler.log') }
  const build = promisify(execFile)(process.execPath, [wrangler, 'deploy', '--dry-run', '--outdir', out], {
    cwd: root,
    env,
  })
  await build.catch((error: { stderr?: string }) => {
    throw new Error(`gateway build failed:\n${error.stderr ?? error}`)
  })
  writeFileSync(stampFile, stamp)
  return out
}

function fingerprint(root: string): string {
  const hash = createHash('sha256')
  const add = (path: string) => {
    const status = statSync(path)
    if (status.isDirectory()) for (const name of readdirSync(path).sort()) add(join(path, name))
    else hash.update(`${path}\0${status.size}\0${status.mtimeMs}\0`)
  }
  for (const input of inputs) add(join(root, input))
  return hash.digest('hex')
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
