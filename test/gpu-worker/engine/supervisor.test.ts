/** The supervisor with real scripted processes: see test/support/engine-process.ts. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { attach, type EngineProcess, launch } from '../../../gpu-worker/engine/launch.ts'
import { attachedRules, launchedRules } from '../../../gpu-worker/engine/lifecycle.ts'
import { type Look, Supervisor, type SupervisorTimes, supervisorTimes } from '../../../gpu-worker/engine/supervisor.ts'
import type { Script } from '../../support/engine-process.ts'
import { eventually, freePort } from '../../support/product.ts'

const program = fileURLToPath(new URL('../../support/engine-process.ts', import.meta.url))
const quick: SupervisorTimes = { ...supervisorTimes, loadingEveryMs: 20, everyMs: 20, lookMs: 200, missesMax: 2 }
const opened: { close(): Promise<unknown> }[] = []

afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close()))
})

interface Watched {
  supervisor: Supervisor
  lines: string[]
  failures: string[]
  processes: EngineProcess[]
  /** Changes the script of the running process. */
  say(script: Partial<Script>): Promise<void>
  silence(): Promise<void>
}

async function watch(script: Partial<Script>, times: Partial<SupervisorTimes> = {}, command = process.execPath) {
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const watched: Omit<Watched, 'supervisor'> = {
    lines: [],
    failures: [],
    processes: [],
    silence: () => watched.say({ health: 'silent' }),
    async say(changes) {
      await fetch(`${origin}/script`, { method: 'POST', body: JSON.stringify(changes) })
    },
  }
  const supervisor = new Supervisor({
    rules: launchedRules('scripted', () => watched.lines.at(-1) ?? ''),
    start() {
      const args = [program, String(port), JSON.stringify(script)]
      const started = launch({ command, args, env: {} }, { graceMs: 300, line: (line) => watched.lines.push(line) })
      watched.processes.push(started)
      return started
    },
    look: (signal) => look(origin, signal),
    times: { ...quick, ...times },
    failRuns: (reason) => watched.failures.push(reason),
    log: () => undefined,
  })
  opened.push(supervisor)
  return { supervisor, ...watched }
}

async function look(origin: string, signal: AbortSignal): Promise<Look> {
  const { status } = await fetch(`${origin}/health`, { signal })
  return { kind: status === 200 ? 'ready' : 'loading' }
}

/** A zombie process counts as ended. */
function alive(pid: number | undefined): boolean {
  if (pid === undefined) return false
  try {
    process.kill(pid, 0)
    return process.platform !== 'linux' || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

const stateOf = (supervisor: Supervisor) =>
  eventually(
    async () => supervisor.state,
    (state) => state === 'ready',
  )

describe('supervisor', () => {
  it('[SUP10] the start waits until the engine is ready and passes on its output', async () => {
    const { supervisor, lines, say } = await watch({ health: 'loading', words: 'loading weights' })
    let ready = false
    const started = supervisor.start().then(() => {
      ready = true
    })
    await eventually(
      async () => lines.length,
      (count) => count > 0,
    )
    expect(lines).toEqual(['loading weights'])
    expect([ready, supervisor.state]).toEqual([false, 'starting'])
    await eventually(
      () =>
        say({ health: 'ready' })
          .then(() => true)
          .catch(() => false),
      Boolean,
    )
    await started
    expect(supervisor.state).toBe('ready')
  })

  it('[SUP11] an engine that dies fails its runs and is restarted, and closing leaves no process', async () => {
    const { supervisor, failures, processes } = await watch({})
    await supervisor.start()
    const first = supervisor.pid
    process.kill(first ?? 0, 'SIGKILL')
    await eventually(
      async () => supervisor.state,
      (state) => state !== 'ready',
    )
    expect(failures).toEqual(['the engine ended unexpectedly (SIGKILL)'])
    expect(await stateOf(supervisor)).toBe('ready')
    expect([processes.length, supervisor.restartsTotal, supervisor.pid === first]).toEqual([2, 1, false])
    const last = supervisor.pid
    await supervisor.close()
    expect([alive(first), alive(last), supervisor.state]).toEqual([false, false, 'closed'])
  })

  it('[SUP12] an engine that stops answering is ended, by SIGKILL if necessary, and another one is started', async () => {
    const { supervisor, failures, processes, silence } = await watch({ stubborn: true })
    await supervisor.start()
    const first = supervisor.pid
    await silence()
    await eventually(
      async () => failures.length,
      (count) => count > 0,
    )
    expect(failures).toEqual(['the engine did not answer 2 health checks in a row'])
    await eventually(
      async () => alive(first),
      (is) => !is,
    )
    expect(alive(first)).toBe(false)
    expect([await stateOf(supervisor), processes.length]).toEqual(['ready', 2])
  })

  it('[SUP13] an engine that fails health checks but still writes output counts as alive', async () => {
    const { supervisor, failures, silence } = await watch({})
    await supervisor.start()
    await silence()
    const output = setInterval(() => supervisor.heard(), 10)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    clearInterval(output)
    expect([supervisor.state, failures]).toEqual(['ready', []])
  })

  it('[SUP14] an engine that cannot start is given up with its last output, also if the program does not exist', async () => {
    const { supervisor } = await watch({ words: 'no GPU found', dieWith: 3 })
    await expect(supervisor.start()).rejects.toThrow(
      'The engine scripted ended 2 times, last while it loaded (exit code 3), and is not restarted. Its output: no GPU found.',
    )
    const missing = await watch({}, {}, '/nowhere/llama-server')
    await expect(missing.supervisor.start()).rejects.toThrow(/exit code 127.*ENOENT/)
  })

  it('[SUP15] an engine that is not ready within its load time is ended', async () => {
    const { supervisor, processes } = await watch({ health: 'loading' }, { loadMs: 400 })
    await expect(supervisor.start()).rejects.toThrow(/was not ready within 1 s/)
    await Promise.all(processes.map((each) => each.exited))
    expect(processes.map(({ pid }) => alive(pid))).toEqual([false, false])
  })

  it('[SUP16] an attached engine is watched, waited for while it is absent, and never ended', async () => {
    const port = await freePort()
    const origin = `http://127.0.0.1:${port}`
    const failures: string[] = []
    const supervisor = new Supervisor({
      rules: { ...attachedRules('scripted', origin), backoffFirstMs: 20 },
      start: attach,
      look: (signal) => look(origin, signal),
      times: { ...quick, silentMs: 300 },
      failRuns: (reason) => failures.push(reason),
      log: () => undefined,
    })
    opened.push(supervisor)
    const run = () =>
      launch(
        { command: process.execPath, args: [program, String(port)], env: {} },
        { graceMs: 100, line: () => undefined },
      )
    const absent = new Supervisor({
      rules: attachedRules('scripted', origin),
      ...{ start: attach, look: (signal) => look(origin, signal), times: { ...quick, silentMs: 300 } },
      ...{ failRuns: () => undefined, log: () => undefined },
    })
    opened.push(absent)
    await expect(absent.start()).rejects.toThrow('did not answer within 1 s. Start it first')
    const engine = run()
    const up = () => look(origin, AbortSignal.timeout(500)).then(Boolean, () => false)
    expect(await eventually(up, Boolean)).toBe(true)
    await supervisor.start()
    engine.end()
    await engine.exited
    await eventually(
      async () => supervisor.state,
      (state) => state !== 'ready',
    )
    expect([supervisor.state, failures]).toEqual(['restarting', ['the engine did not answer 2 health checks in a row']])
    // Absent for longer than the limit at the start.
    await new Promise((resolve) => setTimeout(resolve, 500))
    const again = run()
    expect(await stateOf(supervisor)).toBe('ready')
    await supervisor.close()
    expect((await look(origin, AbortSignal.timeout(1_000))).kind).toBe('ready')
    again.end()
    await again.exited
  })

  it.each([null, 30])('[SUP17] a launched engine ends when its worker is killed (after %s ms)', async (ms) => {
    const port = await freePort()
    const worker = fileURLToPath(new URL('../../../gpu-worker/engine/launch.ts', import.meta.url))
    const dies = ms === null ? '' : `setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${ms})`
    const code = `const { launch } = await import(${JSON.stringify(worker)})
      launch({ command: process.execPath, args: [${JSON.stringify(program)}, '${port}'], env: {} }, { graceMs: 5_000, line: () => {} })
      ${dies}`
    const parent = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'ignore' })
    const up = () => look(`http://127.0.0.1:${port}`, AbortSignal.timeout(500)).then(Boolean, () => false)
    if (ms === null) {
      expect(await eventually(up, Boolean)).toBe(true)
      parent.kill('SIGKILL')
      expect(await eventually(up, (is) => !is)).toBe(false)
      return
    }
    // The guard has hardly started: the engine must not start afterwards either.
    await new Promise((resolve) => parent.once('exit', resolve))
    expect(await eventually(up, Boolean, 1_500)).toBe(false)
  })
})
