/** The grammar service with simulated processes, and with a real one. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { afterEach, describe, expect, it } from 'vitest'
import { EngineFailure } from '../../../gpu-worker/engine/engine.ts'
import type { GrammarJob, Grammars } from '../../../gpu-worker/engine/grammar.ts'
import type { FromGrammarChild, ToGrammarChild } from '../../../gpu-worker/engine/grammar-child.ts'
import { type GrammarProcess, GrammarService } from '../../../gpu-worker/engine/grammar-service.ts'

const schemaJob = (schema: unknown): GrammarJob => ({
  content: { kind: 'schema', schema: JSON.stringify(schema), strict: true, object: false },
  call: null,
})
const toolJob: GrammarJob = {
  content: null,
  call: {
    tools: [{ name: 'f', parameters: '{"type":"object"}', strict: false }],
    options: { argsId: 3, single: true },
  },
}
const answered: Grammars = {
  ok: true,
  content: { text: 'root ::= "a"', ends: true, stacks: 14 },
  call: null,
  warnings: [],
}
const services: GrammarService[] = []
afterEach(() => {
  for (const service of services.splice(0)) service.close()
})

/** Simulated processes that record the messages sent to them, and answer on request. */
function world(deadlineMs = 60_000, starts: (index: number) => boolean = () => true) {
  const lines: string[] = []
  const processes: { sent: ToGrammarChild[]; say(message: FromGrammarChild): void; die(): void; killed: boolean }[] = []
  function start(): GrammarProcess {
    const ended = Promise.withResolvers<string>()
    let listener: (message: FromGrammarChild) => void = () => undefined
    const process = {
      sent: [] as ToGrammarChild[],
      say: (message: FromGrammarChild) => listener(message),
      die: () => ended.resolve('ended (SIGABRT)'),
      killed: false,
    }
    const lives = starts(processes.push(process) - 1)
    if (!lives) process.die()
    return {
      pid: undefined,
      send: (message) => void process.sent.push(message),
      onMessage(each) {
        listener = each
        if (lives) queueMicrotask(() => each({ kind: 'ready' }))
      },
      kill: () => {
        process.killed = true
        process.die()
      },
      exited: ended.promise,
    }
  }
  const service = new GrammarService((line) => lines.push(line), start, deadlineMs)
  services.push(service)
  const answer = (index = 0) => {
    const { sent, say } = processes[index] ?? { sent: [], say: () => undefined }
    say({ kind: 'answer', id: sent.at(-1)?.id ?? -1, answer: answered })
  }
  return { service, processes, lines, answer }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('the grammar service', () => {
  it('[EGS18] the process starts with the first schema and compiles one at a time, the shortest first, with a cache', async () => {
    const { service, processes, answer } = world()
    expect(processes).toHaveLength(0)
    const long = schemaJob({ description: 'long '.repeat(100) })
    const [first, second, third] = [
      service.compile(schemaJob({ a: 1 })),
      service.compile(long),
      service.compile(schemaJob({ b: 1 })),
    ]
    await turn()
    expect(processes.map(({ sent }) => sent.length)).toEqual([1])
    answer()
    expect(await first).toBe(answered)
    answer()
    expect(await third).toBe(answered)
    answer()
    expect(await second).toBe(answered)
    expect(await service.compile(long)).toBe(answered)
    expect(processes[0]?.sent).toHaveLength(3)
  })

  it('[EGS18] a schema that takes too long is refused, the process is replaced, and waiting schemas are compiled', async () => {
    const { service, processes, lines, answer } = world(50)
    const bomb = service.compile(schemaJob({ a: 1 }))
    const next = service.compile(schemaJob({ bb: 1 }))
    expect(await bomb).toMatchObject({
      ok: false,
      code: 'invalid_value',
      message: expect.stringMatching(/too long to compile/),
    })
    expect(processes[0]?.killed).toBe(true)
    await turn()
    answer(1)
    expect(await next).toBe(answered)
    expect(lines.join()).toMatch(/took longer than 0\.05 s and was replaced/)
    // Tools get looser rules instead.
    const tool = await service.compile(toolJob)
    expect(tool.ok && tool.call?.text).toContain('call ::= "f" <[3]> object')
  })

  it('[EGS18] when the process dies, only the request that it was compiling is refused', async () => {
    const { service, processes, answer } = world()
    const poison = service.compile(schemaJob({ a: 1 }))
    const next = service.compile(schemaJob({ bb: 1 }))
    await turn()
    processes[0]?.die()
    expect(await poison).toMatchObject({ ok: false, code: 'invalid_value' })
    await turn()
    answer(1)
    expect(await next).toBe(answered)
  })

  it('[EGS18] if the process cannot start, requests fail after three attempts, and the next request tries again', async () => {
    const { service, processes, answer } = world(60_000, (index) => index >= 3)
    await expect(service.compile(schemaJob({ a: 1 }))).rejects.toThrow(EngineFailure)
    expect(processes).toHaveLength(3)
    const next = service.compile(schemaJob({ a: 1 }))
    await turn()
    answer(3)
    expect(await next).toBe(answered)
  })

  it('[EGS18] a schema is not compiled after its client left; closing fails open requests and ends the process', async () => {
    const { service, processes } = world()
    const left = new AbortController()
    const open = service.compile(schemaJob({ a: 1 }))
    const abandoned = service.compile(schemaJob({ b: 1 }), left.signal)
    await turn()
    left.abort()
    expect(await abandoned).toMatchObject({ ok: false, code: 'client_left' })
    service.close()
    await expect(open).rejects.toThrow(EngineFailure)
    await expect(service.compile(schemaJob({ a: 2 }))).rejects.toThrow(EngineFailure)
    expect(processes.map(({ sent, killed }) => [sent.length, killed])).toEqual([[1, true]])
  })

  it('[EGS18] the cache is bounded', async () => {
    const { service, processes, answer } = world()
    const compile = async (index: number) => {
      const compiled = service.compile(schemaJob({ index }))
      await turn()
      answer()
      return compiled
    }
    for (let index = 0; index < 300; index++) await compile(index)
    const sent = () => processes[0]?.sent.length ?? 0
    const before = sent()
    await service.compile(schemaJob({ index: 299 }))
    expect(sent()).toBe(before)
    await compile(0)
    expect(sent()).toBe(before + 1)
  })

  it('[EGS19] a process whose event loop is stuck ends with its parent', async () => {
    const orphan = new URL('../../../gpu-worker/engine/orphan.ts', import.meta.url)
    const stuck = `const { endWithParent } = await import(${JSON.stringify(orphan)}); endWithParent(); console.log(process.pid); setTimeout(() => { for (;;); }, 50)`
    const program = `const { spawn } = await import('node:child_process')
      spawn(process.execPath, ['--input-type=module', '-e', ${JSON.stringify(stuck)}], { stdio: ['ignore', 'inherit', 'ignore'] })`
    const parent = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string]
    const pid = Number(line)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(alive(pid)).toBe(true)
    parent.kill('SIGKILL')
    await expect.poll(() => alive(pid), { timeout: 10_000 }).toBe(false)
  })
})

/** A zombie process counts as ended. */
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return process.platform !== 'linux' || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
