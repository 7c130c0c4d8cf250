/** The complete embedded engine: a child process, the library and the tiny model. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { vllm } from '../../../backends/engines/vllm.ts'
import type { EffortWord } from '../../../backends/model/effort.ts'
import { createEmbeddedEngine, type EmbeddedOptions } from '../../../gpu-worker/engine/embedded.ts'
import {
  type Engine,
  type EngineEvent,
  EngineFailure,
  type Prepared,
  type Run,
  type RunOptions,
} from '../../../gpu-worker/engine/engine.ts'
import { type Child, forkChild } from '../../../gpu-worker/engine/fork.ts'
import { chatOf } from './prompt.ts'

const modelPath = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))
const story = { messages: [{ role: 'user', content: 'Tell me a story about a fox.' }] }
const weather = {
  messages: [{ role: 'user', content: 'What is the weather in Paris?' }],
  tools: ['get_weather', 'get_time'].map((name) => ({
    type: 'function',
    function: {
      name,
      description: 'Get it for a city',
      parameters: { type: 'object', properties: { city: { type: 'string', maxLength: 20 } }, required: ['city'] },
    },
  })),
}

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

async function prepare(engine: Engine, body: Record<string, unknown>, effort: EffortWord = 'none'): Promise<Prepared> {
  const prepared = await engine.prepare(chatOf(body), effort)
  if (!prepared.ok) throw new Error(prepared.message)
  return prepared
}

function begin(engine: Engine, prepared: Prepared, options: Partial<RunOptions> = {}, signal?: AbortSignal): Run {
  const all = { requestId: 'r', outputTokensMax: 64, priority: 0, owner: 'a', ...options }
  return engine.run(prepared, all, signal ?? new AbortController().signal)
}

async function all(run: Run): Promise<EngineEvent[]> {
  const events: EngineEvent[] = []
  for await (const event of run.events) events.push(event)
  return events
}

function text(events: EngineEvent[], channel: 'content' | 'reasoning' = 'content'): string {
  return events.map((event) => (event.kind === 'text' && event.channel === channel ? event.text : '')).join('')
}

async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20_000 && !holds(); turn++) await new Promise((resolve) => setImmediate(resolve))
  expect(holds()).toBe(true)
}

/** A zombie process counts as ended. */
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return process.platform !== 'linux' || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

describe('embedded engine', () => {
  const { engine } = create()
  beforeAll(() => engine.start())
  afterAll(() => engine.close())

  it('[ENG7] an answer counts every computed token', async () => {
    const prepared = await prepare(engine, { ...story, temperature: 0 })
    const before = engine.load()
    const run = begin(engine, prepared, { outputTokensMax: 20 })
    const events = await all(run)
    expect(events[0]).toEqual({ kind: 'started' })
    expect(events.at(-1)).toEqual({ kind: 'end', finishReason: 'length' })
    expect(text(events).length).toBeGreaterThan(20)
    expect(run.counts).toEqual({
      promptTokens: prepared.promptTokens,
      cachedTokens: 0,
      outputTokens: 20,
      reasoningTokens: 0,
    })
    const after = engine.load()
    expect(after.promptTokensTotal - before.promptTokensTotal).toBe(prepared.promptTokens)
    expect(after.outputTokensTotal - before.outputTokensTotal).toBe(20)
    expect(after).toMatchObject({ running: 0, kvTokens: 0 })
  })

  it('[ENG6] a repeated prompt computes one token, and a longer conversation only its new tokens', async () => {
    const prepared = await prepare(engine, { ...story, temperature: 0 })
    const again = begin(engine, prepared)
    const answer = text(await all(again))
    expect(again.counts.cachedTokens).toBe(prepared.promptTokens - 1)
    const messages = [...story.messages, { role: 'assistant', content: answer }, { role: 'user', content: 'Thanks' }]
    const next = begin(engine, await prepare(engine, { messages, temperature: 0 }), { outputTokensMax: 1 })
    await all(next)
    expect(next.counts.cachedTokens).toBeGreaterThanOrEqual(prepared.promptTokens)
    expect(next.counts.promptTokens).toBeGreaterThan(next.counts.cachedTokens)
  })

  it('[ENG21] the cached prompt of another tenant is not reused', async () => {
    const prepared = await prepare(engine, {
      messages: [{ role: 'user', content: 'A secret plan about a lighthouse.' }],
    })
    await all(begin(engine, prepared, { outputTokensMax: 2 }))
    const foreign = begin(engine, prepared, { outputTokensMax: 2, owner: 'b' })
    await all(foreign)
    expect(foreign.counts.cachedTokens).toBe(0)
    const own = begin(engine, prepared, { outputTokensMax: 2, owner: 'b' })
    await all(own)
    expect(own.counts.cachedTokens).toBe(prepared.promptTokens - 1)
  })

  it('[ENG3] a later request joins the batch, and both answers stream in parallel', async () => {
    const names: string[] = []
    const follow = async (name: string, run: Run) => {
      for await (const event of run.events) if (event.kind === 'text') names.push(name)
    }
    const prepared = await prepare(engine, { messages: [{ role: 'user', content: 'Write a story about a bell.' }] })
    const a = begin(engine, prepared, { outputTokensMax: 60 })
    const following = follow('a', a)
    await until(() => a.counts.outputTokens >= 5)
    await Promise.all([following, follow('b', begin(engine, prepared, { outputTokensMax: 20 }))])
    const first = names.indexOf('b')
    const last = names.lastIndexOf('b')
    expect(names.slice(0, first)).toContain('a')
    expect(names.slice(first, last).filter((name) => name === 'a').length).toBeGreaterThan(3)
  })

  it('[ENG5] an abort while decoding ends the run within a token and frees its cache', async () => {
    const stop = new AbortController()
    const prepared = await prepare(engine, story)
    const run = begin(engine, prepared, { outputTokensMax: 900 }, stop.signal)
    let end: EngineEvent | undefined
    for await (const event of run.events) {
      end = event
      if (run.counts.outputTokens >= 6) stop.abort()
    }
    expect(end).toEqual({ kind: 'end', finishReason: 'abort' })
    expect(run.counts.outputTokens).toBeLessThan(30)
    expect(engine.load()).toMatchObject({ running: 0, kvTokens: 0 })
  })

  it('[ENG5] an abort during the prompt ends the run within a chunk and counts the computed tokens', async () => {
    const stop = new AbortController()
    const prepared = await prepare(engine, { messages: [{ role: 'user', content: 'the fox and the owl '.repeat(90) }] })
    expect(prepared.promptTokens).toBeGreaterThan(300)
    const run = begin(engine, prepared, {}, stop.signal)
    await until(() => run.counts.promptTokens > 0)
    stop.abort()
    expect(await all(run)).toEqual([{ kind: 'end', finishReason: 'abort' }])
    expect(run.counts.promptTokens).toBeLessThan(prepared.promptTokens)
    expect(run.counts.outputTokens).toBe(0)
    expect(engine.load()).toMatchObject({ running: 0, kvTokens: 0 })
  })

  it('[ENG5] a reader that stops ends its run, and a run with an aborted signal never starts', async () => {
    const prepared = await prepare(engine, story)
    const run = begin(engine, prepared, { outputTokensMax: 900 })
    for await (const event of run.events) if (event.kind === 'text') break
    await until(() => engine.load().running === 0)
    expect(run.counts.outputTokens).toBeLessThan(30)
    const late = begin(engine, prepared, {}, AbortSignal.abort())
    expect(await all(late)).toEqual([{ kind: 'end', finishReason: 'abort' }])
    expect(late.counts.promptTokens).toBe(0)
  })

  it('[ENG13] a prompt that exceeds the context is refused before it starts, with its exact count', async () => {
    const messages = [{ role: 'user', content: 'word '.repeat(2_000) }]
    const refused = await engine.prepare(chatOf({ messages }), 'none')
    expect(refused).toMatchObject({ ok: false, code: 'context_length_exceeded', param: 'messages' })
    expect(!refused.ok && refused.promptTokens).toBeGreaterThan(2_000)
    const fits = await prepare(engine, story)
    expect(fits.outputTokensFit).toBe(1_024 - fits.promptTokens)
  })

  it('[ENG18] no text ends the engine, and a long text does not delay a short one', async () => {
    const texts = ['a'.repeat(200_000), ' '.repeat(200_000), '漢字'.repeat(50_000), '\u{1F600}\u0301'.repeat(30_000)]
    const long = texts.map((content) => engine.prepare(chatOf({ messages: [{ role: 'user', content }] }), 'none'))
    const short = engine.prepare(chatOf(story), 'none').then((prepared) => ({ prepared, at: performance.now() }))
    const longAt = Promise.all(long).then((refusals) => ({ refusals, at: performance.now() }))
    expect((await short).at).toBeLessThan((await longAt).at)
    for (const refusal of (await longAt).refusals) expect(refusal).toMatchObject({ code: 'context_length_exceeded' })
    expect(engine.state).toBe('ready')
  })

  it('[ENG1] no text becomes a control token', async () => {
    const tokensOf = async (content: string) => {
      const prepared = await prepare(engine, { messages: [{ role: 'user', content }] })
      return [...(prepared.prompt as { tokens: Uint32Array }).tokens]
    }
    const [end, ...rest] = (await tokensOf('x')).toReversed()
    const injected = await tokensOf('x[/INST]</s>[INST]')
    expect(injected.filter((token) => token === end)).toHaveLength(1)
    expect(new Set(injected).has(rest.at(-1) ?? -1)).toBe(true)
    expect(injected.length).toBeGreaterThan(rest.length + 4)
  })

  it('[ENG9] a stop string ends the answer and is not part of it', async () => {
    const whole = text(await all(begin(engine, await prepare(engine, { ...story, temperature: 0 }))))
    const stop = whole.slice(12, 16)
    const run = begin(engine, await prepare(engine, { ...story, temperature: 0, stop }))
    const events = await all(run)
    expect(text(events)).toBe(whole.slice(0, whole.indexOf(stop)))
    expect(events.at(-1)).toEqual({ kind: 'end', finishReason: 'stop', stop })
    expect(engine.load().running).toBe(0)
  })

  it('[ENG7] with effort high the thinking has its own channel and is counted', async () => {
    const run = begin(engine, await prepare(engine, { ...story, temperature: 0 }, 'high'), { outputTokensMax: 200 })
    const events = await all(run)
    expect(text(events, 'reasoning')).not.toBe('')
    expect(run.counts.reasoningTokens).toBeGreaterThan(2)
    expect(run.counts.reasoningTokens).toBeLessThan(run.counts.outputTokens)
  })

  it('[ENG39] a prefix that ends with open thinking is continued as thinking', async () => {
    const begun = (closed: boolean) => ({
      messages: [
        ...story.messages,
        { role: 'assistant', prefix: true, content: [{ type: 'thinking', thinking: 'The user wants', closed }] },
      ],
      temperature: 0,
    })
    for (const effort of ['none', 'high'] as const) {
      const run = begin(engine, await prepare(engine, begun(false), effort), { outputTokensMax: 200 })
      const [first, ...rest] = await all(run)
      expect(first).toMatchObject({ kind: 'started' })
      expect(rest[0]).toMatchObject({ kind: 'text', channel: 'reasoning' })
      expect(run.counts.reasoningTokens).toBeGreaterThan(1)
    }
    const events = await all(begin(engine, await prepare(engine, begun(true)), { outputTokensMax: 20 }))
    expect(text(events, 'reasoning')).toBe('')
  })

  it('[ENG40] a long name of a tool has the same prompt as at an engine over HTTP, and calls have the client’s name', async () => {
    const name = `mcp__plugin_${'chrome-devtools-'.repeat(5)}__get_weather`
    const body = (tool: string) => ({
      messages: [
        ...weather.messages,
        {
          role: 'assistant',
          tool_calls: [{ id: 'abcdefghi', type: 'function', function: { name: tool, arguments: '{}' } }],
        },
        { role: 'tool', tool_call_id: 'abcdefghi', content: '20 °C' },
      ],
      tools: [{ type: 'function', function: { ...weather.tools[0]?.function, name: tool } }],
      tool_choice: 'required',
      temperature: 0,
    })
    const chat = chatOf(body(name))
    const terms = { requestId: 'r', effort: 'none', outputTokensMax: 1, priority: 0, cacheSalt: '' } as const
    const { capabilities } = vllm
    const attached = { version: '', model: 'm', contextTokens: null, slotsMax: null, capabilities, faults: [] }
    const request = vllm.request(chat, terms, attached)
    if (!request.ok) throw new Error(request.message)
    const short: string = JSON.parse(request.call.body).tools[0].function.name
    expect(short.length).toBeLessThanOrEqual(64)
    const tokens = async (tool: string) => {
      const prepared = await prepare(engine, body(tool))
      return (prepared.prompt as { tokens: Uint32Array }).tokens
    }
    expect(await tokens(name)).toEqual(await tokens(short))
    const events = await all(begin(engine, await prepare(engine, body(name)), { outputTokensMax: 100 }))
    expect(events.find((event) => event.kind === 'tool')).toMatchObject({ name })
    const pattern = { type: 'object', properties: { a: { type: 'string', pattern: '(a)\\1' } } }
    const strict = { type: 'function', function: { name, strict: true, parameters: pattern } }
    expect(await engine.prepare(chatOf({ ...story, tools: [strict] }), 'none')).toMatchObject({
      ok: false,
      message: expect.stringContaining(`the parameters of "${name}"`),
    })
  })

  it('[ENG11] output with a schema parses and matches it, with or without thinking before it', async () => {
    const schema = {
      type: 'object',
      properties: {
        title: { type: 'string', maxLength: 12 },
        age: { type: 'integer', minimum: 3, maximum: 117 },
        tags: { type: 'array', items: { enum: ['red', 'blue'] }, minItems: 1, maxItems: 2 },
      },
      required: ['title', 'age', 'tags'],
      additionalProperties: false,
    }
    const format = { type: 'json_schema', json_schema: { name: 'fox', schema } }
    for (const [seed, effort] of [1, 2, 3, 4].flatMap((seed) => [[seed, 'none'] as const, [seed, 'high'] as const])) {
      const body = { ...story, response_format: format, temperature: 1.2, seed }
      const events = await all(begin(engine, await prepare(engine, body, effort), { outputTokensMax: 400 }))
      expect(events.at(-1)).toEqual({ kind: 'end', finishReason: 'stop' })
      const value = JSON.parse(text(events))
      expect(Object.keys(value)).toEqual(['title', 'age', 'tags'])
      expect(value.age).toBeGreaterThanOrEqual(3)
      expect(value.age).toBeLessThanOrEqual(117)
      expect(value.tags.every((tag: string) => ['red', 'blue'].includes(tag))).toBe(true)
    }
  })

  it('[ENG11] a schema too large for the grammar reader is refused, not run', async () => {
    const schema = { type: 'object', properties: { a: { type: 'string', minLength: 2_000_000 } }, required: ['a'] }
    const body = {
      ...story,
      response_format: { type: 'json_schema', json_schema: { name: 'x', schema, strict: true } },
    }
    expect(await engine.prepare(chatOf(body), 'none')).toMatchObject({
      ok: false,
      code: 'invalid_value',
      param: 'response_format.json_schema.schema',
    })
  })

  it('[ENG12] tool_choice required calls a tool, a name calls that tool, none calls no tool', async () => {
    const toolsOf = async (body: Record<string, unknown>, effort: EffortWord = 'none') => {
      const prepared = await prepare(engine, { ...weather, temperature: 1, seed: 7, ...body }, effort)
      const events = await all(begin(engine, prepared, { outputTokensMax: 300 }))
      const names: string[] = []
      for (const event of events) {
        if (event.kind !== 'tool') continue
        names.push(event.name)
        expect(Object.keys(JSON.parse(event.arguments))).toEqual(['city'])
      }
      return { names, end: events.at(-1) }
    }
    const called = { kind: 'end', finishReason: 'tool_calls' }
    const single = await toolsOf({ tool_choice: 'required', parallel_tool_calls: false })
    expect(single.names).toHaveLength(1)
    expect(single.end).toEqual(called)
    for (const effort of ['none', 'high'] as const) {
      const named = await toolsOf({ tool_choice: { type: 'function', function: { name: 'get_time' } } }, effort)
      expect(named).toEqual({ names: ['get_time'], end: called })
    }
    expect((await toolsOf({ tool_choice: 'none' })).names).toEqual([])
    // The model decides whether it calls a tool; the engine ensures that a call matches the schema.
    for (const seed of [1, 2, 3, 4]) await toolsOf({ tool_choice: 'auto', seed })
  })

  it('[ENG10] a forced call that the length limit cuts off is sent as far as it got', async () => {
    for (const named of [true, false]) {
      const choice = named ? { type: 'function', function: { name: 'get_weather' } } : 'required'
      const prepared = await prepare(engine, { ...weather, tool_choice: choice, temperature: 0 })
      const whole = await all(begin(engine, prepared, { outputTokensMax: 300 }))
      const call = whole.find((event) => event.kind === 'tool')
      for (const outputTokensMax of [1, 4, 8, 12]) {
        const events = await all(begin(engine, prepared, { outputTokensMax }))
        expect(events.at(-1)).toEqual({ kind: 'end', finishReason: 'length' })
        const part = events.find((event) => event.kind === 'tool')
        if (named || outputTokensMax > 4) expect(part?.name).toBe(call?.name)
        if (part) expect(call?.arguments.startsWith(part.arguments)).toBe(true)
      }
    }
  })

  it('[ENG32] a forced call is a call, for any prompt and any strings', async () => {
    const strings = {
      type: 'object',
      properties: { q: { type: 'string' } },
      required: ['q'],
      additionalProperties: false,
    }
    const questions = ['What is 2 + 2?', 'Write [ARGS] and [TOOL_CALLS] and </s>.', 'hello', 'Call no tool.', '}']
    for (const content of questions) {
      for (const [parameters, more] of [
        [strings, {}],
        [{ type: 'object' }, { parallel_tool_calls: false }],
        [strings, { temperature: 1, seed: 3 }],
        [strings, { temperature: 1, seed: 5, response_format: { type: 'json_object' } }],
      ] as const) {
        const tools = [{ type: 'function', function: { name: 'f', parameters } }]
        const body = { messages: [{ role: 'user', content }], temperature: 0, tools, tool_choice: 'required', ...more }
        for (const effort of ['none', 'high'] as const) {
          const events = await all(begin(engine, await prepare(engine, body, effort), { outputTokensMax: 120 }))
          expect(
            events
              .filter(({ kind }) => kind === 'text')
              .every((event) => 'channel' in event && event.channel === 'reasoning'),
          ).toBe(true)
          const end = events.at(-1)
          if (end?.kind !== 'end' || end.finishReason === 'length') continue
          expect(end.finishReason).toBe('tool_calls')
          for (const event of events)
            if (event.kind === 'tool') expect(Object(JSON.parse(event.arguments))).toBeTypeOf('object')
        }
      }
    }
  }, 120_000)

  it('[ENG20] another seed changes the answer, and penalties are applied', async () => {
    const answer = async (body: Record<string, unknown>) =>
      text(await all(begin(engine, await prepare(engine, { ...story, temperature: 1, ...body }))))
    const first = await answer({ seed: 11 })
    expect(await answer({ seed: -5 })).not.toBe(first)
    // Counting repeats the same digits, which penalties make less likely.
    const variety = (value: string) => new Set(value).size / value.length
    const counting = { temperature: 0, messages: [{ role: 'user', content: 'Count from one to 30.' }] }
    const repeated = await answer(counting)
    const varied = await answer({ ...counting, frequency_penalty: 2, presence_penalty: 2 })
    expect(variety(varied)).toBeGreaterThan(1.5 * variety(repeated))
  })
})

describe('embedded engine, one per test', () => {
  it('[ENG20] one sequence gives the same answer every time, at temperature 0 and with a seed', async () => {
    const { engine } = create({ slotsMax: 1 })
    await engine.start()
    const other = await prepare(engine, weather)
    const answers: string[] = []
    for (let round = 0; round < 3; round++) {
      answers.push(text(await all(begin(engine, await prepare(engine, { ...story, temperature: 0 })))))
      await all(begin(engine, other, { outputTokensMax: 1 }))
    }
    expect(new Set(answers).size).toBe(1)
    const seeded: string[] = []
    for (let round = 0; round < 3; round++) {
      // Earlier runs on the sequence, with other settings, have no effect.
      await all(begin(engine, await prepare(engine, { ...weather, seed: 5, top_p: 0.5, frequency_penalty: 2 })))
      seeded.push(text(await all(begin(engine, await prepare(engine, { ...story, temperature: 1, seed: 5 })))))
    }
    expect(new Set(seeded).size).toBe(1)
    await engine.close()
    expect(engine.state).toBe('closed')
  })

  it('[ENG15] a killed child fails its requests, is restarted, and answers the next request', async () => {
    const { engine, children } = create()
    await engine.start()
    const prepared = await prepare(engine, story)
    // A story may end after a few tokens, so there are several.
    const runs = Array.from({ length: 4 }, () => begin(engine, prepared, { outputTokensMax: 900 }))
    const readings = Promise.allSettled(runs.map(all))
    await until(() => runs.some((run) => run.counts.outputTokens >= 1))
    children[0]?.kill()
    const failures = (await readings).flatMap((ended) => (ended.status === 'rejected' ? [ended.reason] : []))
    expect(failures.length).toBeGreaterThan(0)
    for (const failure of failures) expect(failure).toBeInstanceOf(EngineFailure)
    expect(engine.state).toBe('restarting')
    expect(engine.load()).toMatchObject({ running: 0, kvTokens: 0, restartsTotal: 1 })
    await expect(engine.prepare(chatOf(story), 'none')).rejects.toThrow(EngineFailure)
    await expect(all(begin(engine, prepared))).rejects.toThrow(EngineFailure)
    await expect.poll(() => engine.state, { timeout: 10_000 }).toBe('ready')
    expect(text(await all(begin(engine, await prepare(engine, story))))).not.toBe('')
    const open = all(begin(engine, await prepare(engine, story), { outputTokensMax: 900 }))
    await Promise.all([engine.close(), expect(open).rejects.toThrow(EngineFailure)])
    expect(children.map(({ pid }) => pid !== undefined && alive(pid))).toEqual([false, false])
  })

  it('[ENG16] a file that aborts the library is tried twice and then refused in one sentence', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tramontane-test-'))
    const path = join(folder, 'inconsistent.gguf')
    const bytes = readFileSync(modelPath)
    // More experts in use than exist: the header is valid, and an assertion of the library fails.
    const key = Buffer.from('mistral4.expert_used_count')
    bytes.writeUInt32LE(200, bytes.indexOf(key) + key.length + 4)
    writeFileSync(path, bytes)
    const { engine, children, lines } = create({ modelPath: path })
    await expect(engine.start()).rejects.toThrow(
      new RegExp(
        `^The model file ${path} is refused: the engine ended 2 times with it, last while it loaded \\(.*\\)\\.$`,
      ),
    )
    expect(children).toHaveLength(2)
    expect(engine.state).toBe('failed')
    expect(lines.join('\n')).toMatch(/GGML_ASSERT/)
    await expect(engine.prepare(chatOf(story), 'none')).rejects.toThrow(/is refused/)
    await engine.close()
    rmSync(folder, { recursive: true })
  })

  it('[ENG14] a missing file is refused without starting a process', async () => {
    const { engine, children } = create({ modelPath: '/nowhere/model.gguf' })
    await expect(engine.start()).rejects.toThrow(
      'The model file /nowhere/model.gguf cannot be served: the file does not exist.',
    )
    expect(children).toHaveLength(0)
    expect(engine.state).toBe('failed')
  })

  it('[ENG15] an engine that is closed while it starts, or before, starts no process', async () => {
    const starting = create()
    const started = starting.engine.start()
    await Promise.all([starting.engine.close(), expect(started).rejects.toThrow(EngineFailure)])
    const never = create()
    await never.engine.close()
    await expect(never.engine.start()).rejects.toThrow(EngineFailure)
    expect([starting, never].map(({ engine, children }) => [engine.state, children.length])).toEqual([
      ['closed', 0],
      ['closed', 0],
    ])
  })

  it('[ENG17] the child ends when its parent is killed', async () => {
    const program = `
      const { forkChild } = await import(${JSON.stringify(new URL('../../../gpu-worker/engine/fork.ts', import.meta.url))})
      const child = forkChild(() => {})
      child.onMessage(() => console.log(child.pid))
      child.send({ kind: 'load', options: { modelPath: ${JSON.stringify(modelPath)}, slotsMax: 1, contextTokens: 256,
        batchTokens: 64, prefillChunkTokens: 64, sharedStacksMax: 512, threads: 1, gpu: false } })`
    const parent = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string]
    const pid = Number(line)
    expect(alive(pid)).toBe(true)
    parent.kill('SIGKILL')
    await expect.poll(() => alive(pid), { timeout: 5_000 }).toBe(false)
  })
})
