/**
 * Runs a program that a model wrote. It is nobody's program, so it gets: a folder of its own that is removed afterwards,
 * no environment, bounds on wall clock, CPU time, memory, processes, files and output, and no network where the system
 * allows that. Whatever it started ends with it.
 *
 * What holds depends on the system, so `jails` go from strict to weak, the first that works is used, and `confinement`
 * says what it gives. On Linux: namespaces for processes and network (for root also another user), and prlimit. Elsewhere:
 * what ulimit knows. None of this is a virtual machine: the program can read what its user can read.
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

/** All tests in turn, up to the first that fails. */
export async function passesAll(program: Program, signal?: AbortSignal, bounds: Limits = limits): Promise<boolean> {
  for (const test of program.tests) {
    const { files, stdin } = harness(program, test)
    const ran = await run(program.language, files, stdin, bounds, signal)
    if (ran.kind !== 'exited' || ran.code !== 0 || !passes(program, ran.stdout, test.output)) return false
  }
  return true
}

/** `files['main']` is run; the folder with all of them is its working directory. An abort ends it as a time-out does. */
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
        chownSync(path, nobody, nobody)
    }
    const [command = '', ...args] = jail.wrap(bounds, interpreterArgs(jail, language, bounds))
    const child = spawn(command, args, {
      cwd: folder,
      env: { PATH: '/usr/bin:/bin', HOME: folder, TMPDIR: folder, LANG: 'C.UTF-8' },
      stdio: 'pipe',
      // A group of its own, so that one signal reaches all of it.
      detached: true,
    })
    return await outcome(child, stdin, bounds, signal)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What this system gives, for a line before the first program runs. Throws one sentence when it has no interpreter. */
export function confinement(language: Language): Confinement {
  return jailFor(language).confinement
}

const nobody = 65_534
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
    // A program need not read what it is given.
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
    // The group is gone already.
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
  if (!found) throw new Error(`nothing here runs ${language}: install it, or leave out --livecode`)
  jailsFound.set(language, found)
  return found
}

const works = (language: Language) => (jail: Jail) => {
  const [command = '', ...args] = jail.wrap(limits, interpreterArgs(jail, language, limits, true))
  const probe = spawnSync(command, args, { cwd: tmpdir(), env: { PATH: '/usr/bin:/bin' }, timeout: 10_000 })
  return probe.status === 0
}

/** From strict to weak. A shell stands first in the process namespace: what it runs can neither end it nor outlive it. */
function jails(language: Language): Jail[] {
  const root = process.getuid?.() === 0
  const init = ['sh', '-c', '"$@"; exit $?', 'sh']
  const namespaces = ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
  const nobodys = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', '--no-new-privs']
  const full = { network: false, processes: true }
  return [
    ...(root
      ? interpreters(language).map((interpreter) =>
          jail({ ...full, otherUser: true, interpreter }, [...namespaces, ...init, ...nobodys], prlimit),
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

/** V8 reserves address space that it never uses, so its memory is bounded by what it writes to, not by what it names. */
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

/** The system's own first: a version manager's stand-in may need the home and the environment that it will not get. */
function interpreters(language: Language): string[] {
  const names = language === 'python' ? ['python3', 'python'] : ['node']
  const own = language === 'javascript' ? [process.execPath] : []
  const folders = ['/usr/bin', '/usr/local/bin', ...(process.env.PATH ?? '').split(delimiter)]
  const found = names.flatMap((name) => folders.map((folder) => join(folder, name))).filter((path) => existsSync(path))
  return [...new Set([...own, ...found])]
}
