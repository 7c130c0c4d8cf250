/**
 * Runs a program that a model wrote. It is untrusted, so it gets its own folder, removed afterwards; no environment;
 * limits on wall clock, CPU time, memory, processes, files and output; and no network if the system allows that. All
 * processes that it started end with it.
 *
 * The protection depends on the system: `jails` go from strict to weak, the first that works is used, and `confinement`
 * reports its properties. On Linux: namespaces for processes and network (as root also another user), and prlimit.
 * Elsewhere: ulimit. None of this is a virtual machine: the program can read the files that its user can read.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { freemem, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Program } from './case.ts'
import { harness, passes } from './harness.ts'

export interface Limits {
  wallMs: number
  cpuS: number
  memoryBytes: number
  processes: number
  outputBytes: number
  fileBytes: number
}

export const limits: Limits = {
  wallMs: 10_000,
  cpuS: 8,
  memoryBytes: 1024 ** 3,
  processes: 32,
  outputBytes: 16 * 1024 ** 2,
  fileBytes: 64 * 1024 ** 2,
}

export type Ran =
  | { kind: 'exited'; code: number | null; stdout: string; stderr: string }
  | { kind: 'time-out' }
  | { kind: 'output-flood' }

export type Language = Program['language']

export interface Confinement {
  network: boolean
  processes: boolean
  otherUser: boolean
  interpreter: string
}

/** Runs all tests in turn, up to the first failure. */
export async function passesAll(program: Program, signal?: AbortSignal, bounds: Limits = limits): Promise<boolean> {
  for (const test of program.tests) {
    const { files, stdin } = harness(program, test)
    const ran = await run(program.language, files, stdin, bounds, signal)
    if (ran.kind !== 'exited' || ran.code !== 0 || !passes(program, ran.stdout, test.output)) return false
  }
  return true
}

/** Runs `files['main']` in a folder that contains all files. An abort ends it as a time-out does. */
export async function run(
  language: Language,
  files: Readonly<Record<string, string>>,
  stdin: string,
  bounds: Limits = limits,
  signal?: AbortSignal,
): Promise<Ran> {
  const jail = jailFor(language)
  const folder = mkdtempSync(join(tmpdir(), 'eval-'))
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
    if (jail.confinement.otherUser) {
      for (const path of [folder, ...Object.keys(files).map((name) => join(folder, name))])
        chownSync(path, unprivilegedId, unprivilegedId)
    }
    const [command = '', ...args] = jail.wrap(bounds, interpreterArgs(jail, language, bounds))
    const child = spawn(command, args, {
      cwd: folder,
      env: { PATH: '/usr/bin:/bin', HOME: folder, TMPDIR: folder, LANG: 'C.UTF-8' },
      stdio: 'pipe',
      // Its own process group, so that one signal reaches all its processes.
      detached: true,
    })
    return await outcome(child, stdin, bounds, signal)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The protection on this system, to report before the first program runs. Throws if there is no interpreter. */
export function confinement(language: Language): Confinement {
  return jailFor(language).confinement
}

const unprivilegedId = 65_534
const utf8 = 'utf8'

function outcome(child: ChildProcess, stdin: string, bounds: Limits, signal?: AbortSignal): Promise<Ran> {
  return new Promise((resolve, reject) => {
    let ended: Ran | undefined
    let bytes = 0
    const said: { out: Buffer[]; err: Buffer[] } = { out: [], err: [] }
    const end = (ran: Ran) => {
      ended ??= ran
      killGroup(child)
    }
    const onAbort = () => end({ kind: 'time-out' })
    const timer = setTimeout(onAbort, bounds.wallMs)
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted) onAbort()
    const listen = (to: Buffer[]) => (piece: Buffer) => {
      bytes += piece.length
      if (bytes > bounds.outputBytes) end({ kind: 'output-flood' })
      else to.push(piece)
    }
    child.stdout?.on('data', listen(said.out))
    child.stderr?.on('data', listen(said.err))
    // A program need not read its input.
    child.stdin?.on('error', () => {})
    child.stdin?.end(stdin)
    child.once('error', reject)
    // Not 'close': a grandchild may hold the pipes open, and ends only with the group.
    child.once('exit', (code) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      setImmediate(() => {
        killGroup(child)
        resolve(
          ended ?? {
            kind: 'exited',
            code,
            stdout: Buffer.concat(said.out).toString(utf8),
            stderr: Buffer.concat(said.err).toString(utf8),
          },
        )
      })
    })
  })
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The group has already ended.
  }
}

interface Jail {
  confinement: Confinement
  wrap(bounds: Limits, command: string[]): string[]
}

const jailsFound = new Map<Language, Jail>()

function jailFor(language: Language): Jail {
  const known = jailsFound.get(language)
  if (known) return known
  const found = jails(language).find(works(language))
  if (!found)
    throw new Error(
      `--livecode: this machine has no working ${language} interpreter. Install one, or remove --livecode`,
    )
  jailsFound.set(language, found)
  return found
}

const works = (language: Language) => (jail: Jail) => {
  const [command = '', ...args] = jail.wrap(limits, interpreterArgs(jail, language, limits, true))
  const probe = spawnSync(command, args, { cwd: tmpdir(), env: { PATH: '/usr/bin:/bin' }, timeout: 10_000 })
  return probe.status === 0
}

/** From strict to weak. A shell is process 1 of the process namespace: the program can neither end nor outlive it. */
function jails(language: Language): Jail[] {
  const root = process.getuid?.() === 0
  const init = ['sh', '-c', '"$@"; exit $?', 'sh']
  const namespaces = ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
  const unprivileged = [
    'setpriv',
    `--reuid=${unprivilegedId}`,
    `--regid=${unprivilegedId}`,
    '--clear-groups',
    '--no-new-privs',
  ]
  const full = { network: false, processes: true }
  return [
    ...(root
      ? interpreters(language).map((interpreter) =>
          jail({ ...full, otherUser: true, interpreter }, [...namespaces, ...init, ...unprivileged], prlimit),
        )
      : []),
    ...interpreters(language).map((interpreter) =>
      jail(
        { ...full, otherUser: false, interpreter },
        [...namespaces.slice(0, 1), '--user', '--map-root-user', ...namespaces.slice(1), ...init],
        prlimit,
      ),
    ),
    ...interpreters(language).map((interpreter) =>
      jail({ network: true, processes: false, otherUser: false, interpreter }, [], prlimit),
    ),
    ...interpreters(language).map((interpreter) =>
      jail({ network: true, processes: false, otherUser: false, interpreter }, [], ulimit),
    ),
  ]

  function jail(confined: Confinement, outer: string[], inner: (bounds: Limits, language: Language) => string[]): Jail {
    return { confinement: confined, wrap: (bounds, command) => [...outer, ...inner(bounds, language), ...command] }
  }
}

/** V8 reserves address space that it never uses, so its written memory is bounded instead of its address space. */
function prlimit(bounds: Limits, language: Language): string[] {
  const memory = language === 'python' ? '--as' : '--data'
  return [
    'prlimit',
    `--cpu=${bounds.cpuS}`,
    `${memory}=${bounds.memoryBytes}`,
    `--nproc=${bounds.processes}`,
    `--fsize=${bounds.fileBytes}`,
    '--nofile=64',
    '--core=0',
    '--',
  ]
}

function ulimit(bounds: Limits, language: Language): string[] {
  const memory = language === 'python' ? `ulimit -v ${Math.floor(bounds.memoryBytes / 1024)} 2>/dev/null;` : ''
  const script = `ulimit -t ${bounds.cpuS}; ulimit -f ${Math.floor(bounds.fileBytes / 512)}; ulimit -c 0; ${memory} exec "$@"`
  return ['sh', '-c', script, 'sh']
}

function interpreterArgs(
  { confinement: { interpreter } }: Jail,
  language: Language,
  bounds: Limits,
  probe = false,
): string[] {
  if (language === 'python') return [interpreter, '-I', '-B', ...(probe ? ['-c', ''] : ['main'])]
  const heapMb = Math.floor(Math.min(bounds.memoryBytes, freemem()) / 2 / 1024 ** 2)
  return [interpreter, `--max-old-space-size=${heapMb}`, ...(probe ? ['-e', ''] : ['main'])]
}

/** The system's own interpreter first: a version manager's shim may need the home and environment that are missing. */
function interpreters(language: Language): string[] {
  const names = language === 'python' ? ['python3', 'python'] : ['node']
  const own = language === 'javascript' ? [process.execPath] : []
  const folders = ['/usr/bin', '/usr/local/bin', ...(process.env.PATH ?? '').split(delimiter)]
  const found = names.flatMap((name) => folders.map((folder) => join(folder, name))).filter((path) => existsSync(path))
  return [...new Set([...own, ...found])]
}
