/** The watchdog's core, and real processes: one with a blocked event loop, one that is stopped. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import { looked, type Silence, watchdogEveryMs } from '../../gpu-worker/watchdog-core.ts'
import { eventually } from '../support/product.ts'

const boundMs = budgets.workerSilentMs.value
const started: ChildProcess[] = []

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
})

/** A process with a watchdog and one child; `block` on its standard input blocks its event loop. */
function watched(folder: string): { child: ChildProcess; lines: () => string } {
  const program = fileURLToPath(new URL('../support/watched-process.ts', import.meta.url))
  const child = spawn(process.execPath, [program, folder], { stdio: ['pipe', 'pipe', 'pipe'] })
  started.push(child)
  let lines = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      lines += text
    })
  return { child, lines: () => lines }
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    // A zombie is still listed.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

describe('the watchdog', () => {
  it('[WDG1] silence counts only while the watching thread runs, and each count of the loop resets it', () => {
    const silenceAfter = (ms: number[], beats = 0) =>
      ms.reduce((silence: Silence, each) => looked(silence, beats, each), { beats: 0, silentMs: 0 }).silentMs
    expect(silenceAfter(Array(60).fill(watchdogEveryMs))).toBe(boundMs)
    // Stopped for an hour, in the middle of a silence.
    expect(silenceAfter([250, 250, 3_600_000, 250])).toBe(250)
    // On an overloaded machine, late checks count for one second.
    expect(silenceAfter([1_500, 1_500, 800])).toBe(2_800)
    expect(silenceAfter([-5])).toBe(0)
    expect(looked({ beats: 1, silentMs: 14_000 }, 2, 250)).toEqual({ beats: 2, silentMs: 0 })
    // Counts wrap around.
    expect(looked({ beats: 2 ** 31 - 1, silentMs: 14_000 }, -(2 ** 31), 250).silentMs).toBe(0)
  })

  it('[WDG2] a blocked process is killed with its child, and leaves one log line and a note', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tramontane-watchdog-'))
    const { child, lines } = watched(folder)
    const ready = await eventually(
      async () => lines(),
      (text) => text.includes('ready'),
    )
    const childPid = Number(/ready (\d+)/.exec(ready)?.[1])
    expect(lives(childPid)).toBe(true)
    const ended = new Promise<string | null>((resolve) => child.once('exit', (_, signal) => resolve(signal)))
    const blockedAt = performance.now()
    child.stdin?.write('block\n')
    expect(await ended).toBe('SIGKILL')
    const tookMs = performance.now() - blockedAt
    // The last count was up to 250 ms before the block.
    expect(tookMs).toBeGreaterThan(boundMs - 500)
    expect(tookMs).toBeLessThan(boundMs + 20_000)
    expect(lives(childPid)).toBe(false)
    expect(lines()).toMatch(
      /^worker w1: its event loop was blocked since .*, for more than 15 s\. Its watchdog kills process \d+$/m,
    )
    const note = JSON.parse(readFileSync(join(folder, 'end.json'), 'utf8'))
    expect(note).toEqual({ reason: expect.stringContaining('was blocked'), at: expect.any(Number) })
  }, 60_000)

  it('[WDG3] a process that was stopped for longer than the limit is not killed after it continues', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tramontane-watchdog-'))
    const { child, lines } = watched(folder)
    await eventually(
      async () => lines(),
      (text) => text.includes('ready'),
    )
    child.kill('SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, boundMs + 3_000))
    child.kill('SIGCONT')
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    child.stdin?.write('echo\n')
    expect(
      await eventually(
        async () => lines(),
        (text) => text.includes('alive'),
      ),
    ).toContain('alive')
    expect(existsSync(join(folder, 'end.json'))).toBe(false)
    expect([child.exitCode, child.signalCode]).toEqual([null, null])
  }, 60_000)
})
