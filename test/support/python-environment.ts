/**
 * A Python environment with pinned packages. It is kept in the temporary folder of the system, under a hash of the
 * pins and of the interpreter, so that the next run starts at once.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

export type PythonEnvironment = { ok: true; python: string } | { ok: false; reason: string }

const run = promisify(execFile)
const candidates = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python']
const installMsMax = 20 * 60_000
const outputBytesMax = 16 * 1024 * 1024

/** The name of a Python 3.10 or newer; undefined if there is none. */
export async function systemPython(): Promise<string | undefined> {
  for (const name of candidates) {
    const found = await run(name, ['-c', 'import sys; print(sys.version_info >= (3, 10))']).catch(() => null)
    if (found?.stdout.trim() === 'True') return name
  }
  return undefined
}

export function interpreterIn(folder: string): string {
  return join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python')
}

/**
 * Installs the packages if they are not installed yet.
 * @param requirements the path of a file that pins every package, also those that others need
 */
export async function pythonEnvironment(requirements: string, log: (line: string) => void): Promise<PythonEnvironment> {
  const system = await systemPython()
  if (!system) return { ok: false, reason: 'no Python 3.10 or newer. Install python3 and python3-venv.' }
  const { stdout: version } = await run(system, ['-c', 'import sys; print(sys.executable, sys.version)'])
  const hash = createHash('sha256').update(version).update(readFileSync(requirements)).digest('hex')
  const folder = join(tmpdir(), `tramontane-python-${userInfo().username}-${hash.slice(0, 16)}`)
  const complete = join(folder, 'complete')
  const python = interpreterIn(folder)
  if (existsSync(complete)) {
    // The temporary folder is shared: another user must not choose the code that runs here.
    if (statSync(complete).uid !== userInfo().uid) return { ok: false, reason: `${folder} belongs to another user` }
    return { ok: true, python }
  }
  rmSync(folder, { recursive: true, force: true })
  try {
    await run(system, ['-m', 'venv', folder])
  } catch {
    rmSync(folder, { recursive: true, force: true })
    return { ok: false, reason: 'Python has no venv module. Install python3-venv.' }
  }
  log(`installing Python packages into ${folder} …`)
  // Without `--no-deps`, pip searches for versions that fit together, for minutes.
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '-r', requirements]
  const failure = await run(python, pip, { timeout: installMsMax, maxBuffer: outputBytesMax }).then(
    () => undefined,
    (error: unknown) => String((error as { stderr?: string }).stderr || error).slice(-2_000),
  )
  if (failure !== undefined) {
    rmSync(folder, { recursive: true, force: true })
    return { ok: false, reason: `the packages cannot be installed:\n${failure}` }
  }
  writeFileSync(complete, '')
  return { ok: true, python }
}
