import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Program } from './case.ts'
import { confinement, type Language, limits, passesAll, run } from './sandbox.ts'

const quick = { ...limits, wallMs: 3_000 }

const has = (language: Language): boolean => {
  try {
    confinement(language)
    return true
  } catch {
    return false
  }
}

let pythonHere = false
beforeAll(() => {
  pythonHere = has('python')
})

const python = (code: string, bounds = quick, stdin = '') => run('python', { main: code }, stdin, bounds)

/** Command lines that have the word, of every process of this system that can be seen. */
function running(word: string): string[] {
  if (!existsSync('/proc')) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8')]
      } catch {
        return []
      }
    })
    .filter((line) => line.includes(word))
}

describe('sandbox', () => {
  it('[EVL45] a program that reads and prints must pass all its tests', async (context) => {
    if (!pythonHere) context.skip()
    const sum: Program = {
      language: 'python',
      code: 'a, b = map(int, input().split())\nprint(a + b)',
      functionName: null,
      tests: [
        { input: '1 2\n', output: '3' },
        { input: '-5 8\n', output: '3\n' },
      ],
    }
    expect(await passesAll(sum)).toBe(true)
    expect(await passesAll({ ...sum, code: 'print(3 if input() == "1 2" else 4)' })).toBe(false)
    expect(await passesAll({ ...sum, code: 'print(3)\nraise SystemExit(1)' })).toBe(false)
    expect(await passesAll({ ...sum, code: 'this is no Python' })).toBe(false)
  })

  it('[EVL46] a function is judged by its return value, not by its output', async (context) => {
    if (!pythonHere) context.skip()
    const gap: Program = {
      language: 'python',
      code: 'class Solution:\n    def gap(self, values: List[int], scale: float) -> List[float]:\n        print("[0]")\n        return [max(values) * scale]',
      functionName: 'gap',
      tests: [{ input: '[1, 4]\n0.1', output: '[0.4]' }],
    }
    expect(await passesAll(gap)).toBe(true)
    expect(await passesAll({ ...gap, tests: [{ input: '[1, 4]\n1', output: '[5]' }] })).toBe(false)
    expect(await passesAll({ ...gap, code: 'def gap(values, scale):\n    return (0.4,)' })).toBe(true)
  })

  it('[EVL47] JavaScript runs as a program and as a function', async () => {
    const program: Program = {
      language: 'javascript',
      code: "const [a, b] = require('node:fs').readFileSync(0, 'utf8').split(' ').map(Number); console.log(a + b)",
      functionName: null,
      tests: [{ input: '20 22', output: '42' }],
    }
    expect(await passesAll(program)).toBe(true)
    const method = {
      ...program,
      code: 'var twice = (x) => x + x',
      functionName: 'twice',
      tests: [
        { input: '-4', output: '-8' },
        { input: '21', output: '42' },
      ],
    }
    expect(await passesAll(method)).toBe(true)
    expect(await passesAll({ ...method, code: 'class Solution { twice(x) { return x + x } }' })).toBe(true)
    expect(await passesAll({ ...method, code: 'class Solution { twice(x) { return x } }' })).toBe(false)
  })

  it('[EVL48] a program that never ends is stopped, whether it computes or sleeps', async (context) => {
    if (!pythonHere) context.skip()
    const short = { ...limits, wallMs: 600 }
    expect(await python('while True: pass', short)).toEqual({ kind: 'time-out' })
    expect(await python('import time\ntime.sleep(60)', short)).toEqual({ kind: 'time-out' })
    const cpu = await python('while True: pass', { ...limits, wallMs: 20_000, cpuS: 1 })
    expect(cpu.kind === 'exited' && cpu.code !== 0).toBe(true)
  })

  it('[EVL49] a program that takes all memory fails, and the evaluation continues', async (context) => {
    if (!pythonHere) context.skip()
    const bounds = { ...quick, memoryBytes: 256 * 1024 ** 2 }
    const ran = await python('x = []\nwhile True: x.append(bytearray(16 * 1024 ** 2))', bounds)
    expect(ran).toMatchObject({ kind: 'exited', code: 1 })
    expect(ran.kind === 'exited' && ran.stderr).toContain('MemoryError')
    const heap = 'const x = []; for (;;) x.push(new Array(1e6).fill(1.5))'
    const script = await run('javascript', { main: heap }, '', {
      ...limits,
      wallMs: 20_000,
      memoryBytes: 512 * 1024 ** 2,
    })
    expect(script.kind === 'exited' && script.code !== 0).toBe(true)
  })

  it('[EVL50] a program that starts processes without end is limited, and none of them remains', async (context) => {
    if (!pythonHere || process.platform !== 'linux') context.skip()
    const word = `bomb${process.pid}`
    const bomb = `import os, time
# Leaves its group, which a signal to the group would not reach.
os.setsid()
count = 1
for _ in range(200):
    try:
        if os.fork() == 0:
            os.setsid()
            os.execv('/bin/sleep', ['${word}', '60'])
        count += 1
    except OSError:
        break
print(count, flush=True)
time.sleep(60)`
    const seen: number[] = []
    const watch = setInterval(() => seen.push(running(word).length), 50)
    const ran = await python(bomb, { ...limits, wallMs: 1_500 })
    clearInterval(watch)
    expect(ran).toEqual({ kind: 'time-out' })
    expect(Math.max(...seen)).toBeGreaterThan(0)
    if (confinement('python').processes) {
      expect(Math.max(...seen)).toBeLessThanOrEqual(limits.processes)
      await expect.poll(() => running(word), { timeout: 3_000 }).toEqual([])
    }
  })

  it('[EVL51] a program that prints without end is stopped', async (context) => {
    if (!pythonHere) context.skip()
    const bounds = { ...limits, outputBytes: 1024 ** 2 }
    expect(await python('while True: print("x" * 10_000)', bounds)).toEqual({ kind: 'output-flood' })
    expect(await python('import sys\nwhile True: sys.stderr.write("x" * 10_000)', bounds)).toEqual({
      kind: 'output-flood',
    })
  })

  it('[EVL52] a program sees no environment variable, and its own folder is removed', async (context) => {
    if (!pythonHere) context.skip()
    process.env.TRAMONTANE_EVAL_PROBE = 'a secret'
    const ran = await python(
      'import os, json\nopen("left", "w").write("here")\nprint(json.dumps({"env": dict(os.environ), "cwd": os.getcwd(), "files": sorted(os.listdir("."))}))',
    )
    delete process.env.TRAMONTANE_EVAL_PROBE
    if (ran.kind !== 'exited') throw new Error(ran.kind)
    const said = JSON.parse(ran.stdout) as { env: Record<string, string>; cwd: string; files: string[] }
    expect(
      Object.keys(said.env)
        .filter((name) => !/^(LC_CTYPE|PWD|SHLVL|_|OLDPWD)$/.test(name))
        .toSorted(),
    ).toEqual(['HOME', 'LANG', 'PATH', 'TMPDIR'])
    expect(ran.stdout).not.toContain('a secret')
    expect(said.files).toEqual(['left', 'main'])
    expect(said.cwd).not.toBe(process.cwd())
    expect(existsSync(said.cwd)).toBe(false)
  })

  it('[EVL53] where it runs as another user, a program cannot write outside its folder', async (context) => {
    if (!pythonHere || !confinement('python').otherUser) context.skip()
    const mine = join(process.cwd(), `eval-probe-${process.pid}`)
    const ran = await python(`open(${JSON.stringify(mine)}, "w").write("x")`)
    const written = existsSync(mine)
    rmSync(mine, { force: true })
    expect(ran).toMatchObject({ kind: 'exited', code: 1 })
    expect(written).toBe(false)
  })

  it('[EVL54] where the system can remove it, a program has no network', async (context) => {
    if (!pythonHere || confinement('python').network) context.skip()
    let calls = 0
    const server = createServer((socket) => {
      calls++
      socket.destroy()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = address !== null && typeof address === 'object' ? address.port : 0
    const ran = await python(`import socket\nsocket.create_connection(("127.0.0.1", ${port}), 1)`)
    server.close()
    expect(ran).toMatchObject({ kind: 'exited', code: 1 })
    expect(calls).toBe(0)
  })

  it('[EVL55] an interrupt stops the program and removes its folder', async (context) => {
    if (!pythonHere) context.skip()
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('eval-'))
    const startedAt = performance.now()
    const stop = new AbortController()
    const ran = run('python', { main: 'import time\ntime.sleep(60)' }, '', limits, stop.signal)
    stop.abort()
    expect(await ran).toEqual({ kind: 'time-out' })
    const late = await run('python', { main: 'import time\ntime.sleep(60)' }, '', limits, stop.signal)
    expect(late).toEqual({ kind: 'time-out' })
    expect(performance.now() - startedAt).toBeLessThan(limits.wallMs / 2)
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('eval-'))).toEqual(before)
  })
})
