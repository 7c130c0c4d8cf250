/** Hostile requests against the complete embedded engine: its processes, its library and the tiny model. */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createEmbeddedEngine, type EmbeddedOptions } from '../../../gpu-worker/engine/embedded.ts'
import {
  type Engine,
  type EngineEvent,
  EngineFailure,
  EngineRefused,
  type Prepared,
  type Run,
  type RunOptions,
} from '../../../gpu-worker/engine/engine.ts'
import { type Child, forkChild } from '../../../gpu-worker/engine/fork.ts'
import type { Rules } from '../../../gpu-worker/engine/messages.ts'
import { chatOf } from './prompt.ts'

const modelPath = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))
const story = { messages: [{ role: 'user', content: 'Tell me a story about a fox.' }] }
const string = { type: 'string' }
const object = (properties: Record<string, unknown>, required = Object.keys(properties)) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})
const many = (count: number, each: (index: number) => unknown) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`property_${index}`, each(index)]))
const form = (schema: unknown) => ({
  response_format: { type: 'json_schema', json_schema: { name: 'x', schema, strict: true } },
})

function create(options: Partial<EmbeddedOptions> = {}): { engine: Engine; children: Child[]; lines: string[] } {
  const children: Child[] = []
  const lines: string[] = []
  const engine = createEmbeddedEngine({
    modelPath,
    slotsMax: 4,
    contextTokens: 1_024,
    batchTokens: 512,
    prefillChunkTokens: 32,
    threads: 1,
    gpu: false,
    log: (line) => lines.push(line),
    fork(log) {
      const child = forkChild(log)
      children.push(child)
      return child
    },
    ...options,
  })
  return { engine, children, lines }
}

async function prepare(engine: Engine, body: Record<string, unknown>): Promise<Prepared> {
  const prepared = await engine.prepare(chatOf(body), 'none')
  if (!prepared.ok) throw new Error(prepared.message)
  return prepared
}

function begin(engine: Engine, prepared: Prepared, options: Partial<RunOptions> = {}): Run {
  const all = { requestId: 'r', outputTokensMax: 64, priority: 0, owner: 'a', ...options }
  return engine.run(prepared, all, new AbortController().signal)
}

async function all(run: Run): Promise<EngineEvent[]> {
  const events: EngineEvent[] = []
  for await (const event of run.events) events.push(event)
  return events
}

/** The longest pause in the streams of a plain client that sends requests until `done`. */
async function longestPause(engine: Engine, done: () => boolean): Promise<number> {
  const plain = await prepare(engine, { ...story, temperature: 1 })
  let longest = 0
  while (!done()) {
    let last = performance.now()
    for await (const _ of begin(engine, plain, { owner: 'neighbour' }).events) {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }
  }
  return longest
}

async function until(holds: () => boolean): Promise<void> {
  await expect.poll(holds, { timeout: 30_000, interval: 5 }).toBe(true)
}

/** The largest accepted schemas, each expensive in a different way. */
const heavy: Record<string, unknown> = {
  'optional properties only': object(
    many(240, () => string),
    [],
  ),
  'five thousand properties': object(many(5_000, () => string)),
  'values with one common prefix': object({
    e: { enum: Array.from({ length: 10_000 }, (_, i) => `${'p'.repeat(20)}${i}`) },
  }),
  'values without a common prefix': object({
    e: { enum: Array.from({ length: 240 }, (_, i) => String.fromCodePoint(0x4e00 + i)) },
  }),
  'branches that differ late': {
    anyOf: Array.from({ length: 20 }, (_, i) =>
      object({ a: { type: 'string', maxLength: 900 + i }, [`b${i}`]: string }),
    ),
  },
  'many bounds': object(many(50, (i) => ({ type: 'string', maxLength: 1_000 + i }))),
  'one large bound': object({ a: { type: 'string', minLength: 100_000 } }),
}

describe('a hostile request next to others', () => {
  const { engine } = create()
  beforeAll(() => engine.start())
  afterAll(() => engine.close())

  it('[EGS1] the heaviest accepted schemas lengthen the pauses of another client’s stream by less than one second', async () => {
    const alone = await longestPause(engine, stopAfter(500))
    for (const [name, schema] of Object.entries(heavy)) {
      let over = false
      const pause = longestPause(engine, () => over)
      const prepared = await prepare(engine, { ...story, ...form(schema), temperature: 1.5 })
      const runs = [1, 2].map(() => all(begin(engine, prepared, { outputTokensMax: 40 })).catch((error) => error))
      for (const outcome of await Promise.all(runs))
        expect(Array.isArray(outcome) || outcome instanceof EngineRefused, name).toBe(true)
      over = true
      expect((await pause) - alone, name).toBeLessThan(1_000)
    }
    expect(engine.load()).toMatchObject({ running: 0, kvTokens: 0, restartsTotal: 0 })
  }, 60_000)

  it('[EGS2] sampling values beyond 32-bit floats give an answer, with and without a grammar', async () => {
    const values = [1e-38, 1e-39, 1e-40, 1.4e-45, 5e-324, 1e-7, 1e-3, 2]
    for (const value of values) {
      for (const extra of [{}, form(object({ a: { enum: ['one', 'two'] } }))]) {
        for (const body of [{ temperature: value }, { temperature: 1, top_p: Math.min(value, 1) }]) {
          const events = await all(begin(engine, await prepare(engine, { ...story, ...extra, ...body })))
          expect(events.at(-1)?.kind, JSON.stringify(body)).toBe('end')
        }
        const penalised = { ...story, ...extra, temperature: value, frequency_penalty: 2, presence_penalty: -2 }
        expect((await all(begin(engine, await prepare(engine, penalised)))).at(-1)?.kind).toBe('end')
      }
    }
  })

  it('[EGS3] an exception that a schema causes in the compiler becomes a refusal of that request, with its path', async () => {
    let deep: unknown = string
    for (let level = 0; level < 5_000; level++) deep = { type: 'array', items: deep }
    const refused = async (schema: unknown) => {
      const answer = await engine.prepare(chatOf({ ...story, ...form(schema) }), 'none')
      return answer.ok ? 'accepted' : `${answer.code} ${answer.message}`
    }
    expect(await refused({ $ref: '#/%E0%A4%A' })).toMatch(/^invalid_value .*\$ref.* at #/)
    expect(await refused({ type: 'object', required: 5 })).toMatch(/^invalid_value .*required/)
    expect(await refused({ allOf: [{ $ref: '#' }] })).toMatch(/^invalid_value .*(nested|too large)/)
    expect(await refused(deep)).toMatch(/^invalid_value .*nested/)
    const tool = { type: 'function', function: { name: 'f', parameters: deep } }
    const forTool = await engine.prepare(chatOf({ ...story, tools: [tool] }), 'none')
    expect(forTool).toMatchObject({ ok: false, code: 'invalid_value', param: 'tools[0].function.parameters' })
  })

  it('[EGS4] a tool whose schema cannot be enforced is called with any object', async () => {
    const itself = { $ref: '#/$defs/x' }
    const twice = { anyOf: [object({ a: itself, b: string }), object({ a: itself, c: string }), { type: 'null' }] }
    const cases: [Record<string, unknown>, string][] = [
      [{ ...object({ a: itself }), $defs: { x: twice } }, 'args-0 ::= object\n'],
      [object({ a: { type: 'string', minLength: 3, maxLength: 2 } }), 'args-0 ::= object\n'],
    ]
    for (const [parameters, rule] of cases) {
      const tools = [{ type: 'function', function: { name: 'f', parameters } }]
      const body = { ...story, tools, tool_choice: 'required', parallel_tool_calls: false, temperature: 1, seed: 1 }
      const prepared = await prepare(engine, body)
      const { rules } = prepared.prompt as { rules: Rules }
      expect(rules.call?.text).toContain(rule)
      expect((await all(begin(engine, prepared, { outputTokensMax: 400 }))).at(-1)).toMatchObject({ kind: 'end' })
    }
  })

  it('[EGS5] counting a prompt ends when its client leaves', async () => {
    const left = new AbortController()
    const long = engine.prepare(
      chatOf({ messages: [{ role: 'user', content: 'story'.repeat(400_000) }] }),
      'none',
      left.signal,
    )
    const before = performance.now()
    setTimeout(() => left.abort(), 20)
    expect(await long).toMatchObject({ ok: false, code: 'client_left' })
    expect(performance.now() - before).toBeLessThan(1_000)
    expect(await engine.prepare(chatOf(story), 'none', AbortSignal.abort())).toMatchObject({ code: 'client_left' })
    expect((await all(begin(engine, await prepare(engine, story)))).at(-1)?.kind).toBe('end')
  })

  it('[EGS26] a prompt of more than four contexts is refused before all of it is counted', async () => {
    const refused = async (words: number) => {
      const messages = [{ role: 'user', content: 'word '.repeat(words) }]
      const before = performance.now()
      const refusal = await engine.prepare(chatOf({ messages }), 'none')
      return { refusal, ms: performance.now() - before }
    }
    const { refusal: near } = await refused(2_000)
    expect(near).toMatchObject({ code: 'context_length_exceeded', promptTokens: expect.any(Number) })
    const { refusal: far, ms } = await refused(4_000_000)
    expect(far).toMatchObject({
      code: 'context_length_exceeded',
      message: expect.stringMatching(/more than \d+ tokens/),
    })
    expect(far).not.toHaveProperty('promptTokens')
    expect(ms).toBeLessThan(5_000)
  })

  it('[EGS6] text without word boundaries, runs of spaces and nested arguments take linear time to prepare', async () => {
    const spaces = `${' '.repeat(300_000)}x`
    const bodies = [
      { messages: [{ role: 'user', content: 'a'.repeat(1_000_000) }] },
      {
        messages: [
          { role: 'user', content: 'x' },
          { role: 'assistant', content: spaces },
          { role: 'user', content: 'y' },
        ],
      },
      {
        messages: [
          { role: 'user', content: 'x' },
          {
            role: 'assistant',
            tool_calls: [{ id: 'c', function: { name: 'f', arguments: '['.repeat(100_000) + ']'.repeat(100_000) } }],
          },
          { role: 'tool', tool_call_id: 'c', content: 'y' },
        ],
      },
    ]
    for (const body of bodies) {
      const before = performance.now()
      expect(await engine.prepare(chatOf(body), 'none')).toMatchObject({ code: 'context_length_exceeded' })
      expect(performance.now() - before).toBeLessThan(8_000)
    }
  })
})

describe('the watchdog of the engine process', () => {
  it('[EGS7] a child that hangs is killed; preparations and runs with a grammar are refused, plain runs fail', async () => {
    const { engine, children, lines } = create({ times: { silentMs: 1_500 } })
    await engine.start()
    const prepared = await prepare(engine, { ...story, temperature: 1 })
    const schema = object({ a: { type: 'string', minLength: 900 } })
    const bound = begin(engine, await prepare(engine, { ...story, ...form(schema) }), { outputTokensMax: 900 })
    const boundOutcome = all(bound).catch((error: unknown) => error)
    while (bound.counts.outputTokens === 0) await new Promise((resolve) => setImmediate(resolve))
    const plain = begin(engine, prepared, { outputTokensMax: 900 })
    const outcomes = [all(plain).catch((error: unknown) => error), boundOutcome]
    process.kill(children[0]?.pid ?? 0, 'SIGSTOP')
    expect(await engine.prepare(chatOf(story), 'none')).toMatchObject({
      ok: false,
      code: 'preparation_failed',
      param: null,
    })
    const [plainEnd, boundEnd] = await Promise.all(outcomes)
    expect(plainEnd).toBeInstanceOf(EngineFailure)
    expect(boundEnd).toBeInstanceOf(EngineRefused)
    expect(boundEnd).toMatchObject({ afterTokens: true, refusal: { code: 'preparation_failed' } })
    expect(lines.join('\n')).toMatch(/the child was silent for \d(\.\d)? s and was killed/)
    expect(engine.reason).toMatch(/was silent for .* and was killed/)
    await until(() => engine.state === 'ready')
    expect((await all(begin(engine, await prepare(engine, story)))).at(-1)?.kind).toBe('end')
    await engine.close()
  }, 60_000)

  it('[EGS8] a child above its memory limit is killed, with both sizes in the log', async () => {
    const { engine, lines } = create({ memoryBytesMax: 30_000_000 })
    const started = engine.start()
    await expect(started).rejects.toThrow(/used \d+ MB, more than its limit of 30 MB, and was killed/)
    expect(lines.join('\n')).toMatch(/the child used \d+ MB, more than its limit of 30 MB, and was killed/)
    await engine.close()
  })

  it('[EGS9] a preparation that takes too long is refused, and must not be retried on another engine', async () => {
    // Four contexts of the longest words take several times as long.
    const { engine } = create({ times: { prepareMs: 100 }, slotsMax: 1, contextTokens: 32_768 })
    await engine.start()
    const slow = await engine.prepare(
      chatOf({ messages: [{ role: 'user', content: 'story'.repeat(400_000) }] }),
      'none',
    )
    expect(slow).toMatchObject({ ok: false, code: 'preparation_failed' })
    await until(() => engine.state === 'ready')
    expect((await prepare(engine, story)).promptTokens).toBeGreaterThan(1)
    await engine.close()
  })
})

function stopAfter(ms: number): () => boolean {
  const end = performance.now() + ms
  return () => performance.now() > end
}
