/** The HTTP engine with a real scripted process, through llama-server's adapter. */
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { HttpBackend } from '../../../backends/contract/backend.ts'
import { findBackend } from '../../../backends/engines/registry.ts'
import { plausible } from '../../../gpu-worker/engine/check-counts.ts'
import {
  type Engine,
  type EngineEvent,
  EngineFailure,
  EngineRefused,
  type Prepared,
  type Run,
  type RunOptions,
} from '../../../gpu-worker/engine/engine.ts'
import { createHttpEngine, type HttpEngineOptions } from '../../../gpu-worker/engine/http.ts'
import { attach, launch } from '../../../gpu-worker/engine/launch.ts'
import { attachedRules, launchedRules } from '../../../gpu-worker/engine/lifecycle.ts'
import { supervisorTimes } from '../../../gpu-worker/engine/supervisor.ts'
import { type EngineAt, engineAt, engineProgram, startEngineProcess } from '../../support/engine-at.ts'
import type { Script } from '../../support/engine-process.ts'
import { eventually, freePort } from '../../support/product.ts'
import { chatOf } from './prompt.ts'

const llama = findBackend('llama-cpp') as HttpBackend
const times = { ...supervisorTimes, loadingEveryMs: 20, everyMs: 50, lookMs: 300, silentMs: 2_000 }
const plain: Partial<Script> = {
  ...{ health: 'ready', tokens: 5, tokenMs: 0, thinking: 0, fault: null, usage: 'honest', refusal: null },
  ...{ boundless: false, contextTokens: 4_096, lingerMs: 0 },
}
const six = { messages: [{ role: 'user', content: 'one two three four five six' }] }
const engines: Engine[] = []
let lines: string[] = []

async function connect(at: { url: string }, options: Partial<HttpEngineOptions> = {}): Promise<Engine> {
  const engine = createHttpEngine({
    backend: llama,
    ...{ url: at.url, apiKey: null, start: attach, rules: attachedRules('llama-cpp', at.url) },
    ...{ supervisorTimes: times, slotsMax: 8, contextTokens: 4_096 },
    saltOf: (owner) => `salt of ${owner}`,
    log: (line) => lines.push(line),
    ...options,
  })
  engines.push(engine)
  await engine.start()
  return engine
}

async function prepare(engine: Engine, body: Record<string, unknown> = six): Promise<Prepared> {
  const prepared = await engine.prepare(chatOf(body), 'none')
  if (!prepared.ok) throw new Error(prepared.message)
  return prepared
}

function begin(engine: Engine, prepared: Prepared, options: Partial<RunOptions> = {}, signal?: AbortSignal): Run {
  const all = { requestId: 'r', outputTokensMax: 64, priority: 3, owner: 'a', ...options }
  return engine.run(prepared, all, signal ?? new AbortController().signal)
}

async function all(run: Run): Promise<EngineEvent[]> {
  const events: EngineEvent[] = []
  for await (const event of run.events) events.push(event)
  return events
}

const text = (events: EngineEvent[], channel: 'content' | 'reasoning' = 'content') =>
  events.map((event) => (event.kind === 'text' && event.channel === channel ? event.text : '')).join('')

describe('an engine over HTTP', () => {
  let at: EngineAt
  let engine: Engine
  beforeAll(async () => {
    at = await startEngineProcess()
  })
  afterAll(() => at.stop())
  beforeEach(async () => {
    await at.say(plain)
    lines = []
    engine = await connect(at, { runTimes: { silentMs: 250 } })
  })
  afterEach(() => Promise.all(engines.splice(0).map((each) => each.close())))

  it('[HTE1] the engine reports its model and context, counts a prompt before it runs, and separates the channels', async () => {
    expect(engine.description).toMatchObject({ engine: 'llama-cpp', modelName: 'script', contextTokens: 4_096 })
    const before = (await at.seen()).chats.length
    const prepared = await prepare(engine)
    expect([prepared.promptTokens, prepared.outputTokensFit]).toEqual([6, 4_090])
    expect((await at.seen()).chats.length).toBe(before)
    await at.say({ tokens: 5, thinking: 2 })
    const run = begin(engine, prepared)
    const events = await all(run)
    expect(events[0]).toEqual({ kind: 'started' })
    expect([text(events, 'reasoning'), text(events)]).toEqual(['w0 w1 ', 'w2 w3 w4 '])
    expect(events.at(-1)).toEqual({ kind: 'end', finishReason: 'stop' })
    expect(run.counts).toEqual({ promptTokens: 6, cachedTokens: 0, outputTokens: 5, reasoningTokens: 2 })
    expect(run.estimated).toBe(false)
    expect(engine.load()).toMatchObject({ running: 0, kvTokens: 0, promptTokensTotal: 6, outputTokensTotal: 5 })
  })

  it('[HTE2] a prompt that exceeds the context is refused with its exact count, and an image without vision is refused', async () => {
    const small = await connect(at, { contextTokens: 6 })
    expect(await small.prepare(chatOf(six), 'none')).toMatchObject({ code: 'context_length_exceeded', promptTokens: 6 })
    expect(
      await engine.prepare(
        chatOf({
          ...six,
          messages: [
            { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } }] },
          ],
        }),
        'none',
      ),
    ).toMatchObject({
      ok: false,
      code: 'invalid_value',
      param: 'messages',
    })
  })

  it('[HTE3] an abort closes the connection, the engine stops within two tokens, and the generated tokens are counted', async () => {
    await at.say({ tokens: 1_000, tokenMs: 5 })
    const left = new AbortController()
    const run = begin(engine, await prepare(engine), { outputTokensMax: 900 }, left.signal)
    const events: EngineEvent[] = []
    for await (const event of run.events) {
      events.push(event)
      if (events.length === 10) left.abort()
    }
    expect(events.at(-1)).toEqual({ kind: 'end', finishReason: 'abort' })
    const seen = await eventually(
      () => at.seen(),
      ({ open }) => open === 0,
    )
    expect(seen.open).toBe(0)
    const sent = seen.chats.at(-1)?.tokensSent ?? 0
    expect(sent - run.counts.outputTokens).toBeLessThanOrEqual(2)
    expect(run.counts.outputTokens).toBeGreaterThanOrEqual(9)
    expect([run.counts.promptTokens, run.estimated, engine.load().running]).toEqual([6, false, 0])
  })

  it('[HTE4] an abort before the first byte ends the run at once with zero output tokens', async () => {
    await at.say({ tokens: 10, tokenMs: 60_000 })
    const left = new AbortController()
    const run = begin(engine, await prepare(engine), {}, left.signal)
    const events = all(run)
    await eventually(
      () => at.seen(),
      ({ open }) => open === 1,
    )
    left.abort()
    expect(await events).toEqual([{ kind: 'end', finishReason: 'abort' }])
    expect(run.counts.outputTokens).toBe(0)
    expect(
      (
        await eventually(
          () => at.seen(),
          ({ open }) => open === 0,
        )
      ).open,
    ).toBe(0)
  })

  it.each([
    ['half-close', /finish_reason is missing/],
    ['garbage', /an event is not a chat completion/],
    ['error-event', /reported an error/],
    ['stall', /fell silent in mid-answer/],
  ] as const)(
    '[HTE5] an answer that breaks off (%s) fails its own run with the counts reached, and no other run',
    async (kind, why) => {
      await at.say({ tokens: 8, fault: { after: 3, kind } })
      const broken = begin(engine, await prepare(engine))
      await expect(all(broken)).rejects.toThrow(why)
      await expect(all(broken)).resolves.toEqual([])
      expect(broken.counts).toMatchObject({ promptTokens: 6, outputTokens: 3 })
      await at.say({ fault: null })
      expect(text(await all(begin(engine, await prepare(engine))))).toBe('w0 w1 w2 w3 w4 w5 w6 w7 ')
      expect(
        (
          await eventually(
            () => at.seen(),
            ({ open }) => open === 0,
          )
        ).open,
      ).toBe(0)
      expect([engine.state, engine.load().running]).toEqual(['ready', 0])
    },
  )

  it.each([
    ['no usage at all', 'none', { promptTokens: 6, outputTokens: 5 }],
    ['a longer prompt', { prompt_tokens: 600 }, { promptTokens: 6, outputTokens: 5 }],
    ['a shorter prompt', { prompt_tokens: 1 }, { promptTokens: 6, outputTokens: 5 }],
    ['less output than it sent', { completion_tokens: 1 }, { promptTokens: 6, outputTokens: 5 }],
    ['more output than the bound', { completion_tokens: 9_999 }, { promptTokens: 6, outputTokens: 5 }],
  ] as const)(
    '[HTE6] an engine that reports %s is overruled, and the count is marked as estimated',
    async (_, usage, counts) => {
      await at.say({ usage })
      const run = begin(engine, await prepare(engine))
      await all(run)
      expect(run.counts).toMatchObject(counts)
      expect(run.estimated).toBe(true)
    },
  )

  it('[HTE7] an engine that exceeds the output bound is cut off at the bound', async () => {
    await at.say({ boundless: true, tokens: 500 })
    const run = begin(engine, await prepare(engine), { outputTokensMax: 7 })
    const events = await all(run)
    expect(text(events)).toBe('w0 w1 w2 w3 w4 w5 w6 ')
    expect(events.at(-1)).toEqual({ kind: 'end', finishReason: 'length' })
    expect(
      (
        await eventually(
          () => at.seen(),
          ({ open }) => open === 0,
        )
      ).open,
    ).toBe(0)
  })

  it('[HTE20] a call of a tool with a long name is reported under the client’s name', async () => {
    const name = `mcp__${'server-'.repeat(16)}_look`
    const tools = [{ type: 'function', function: { name, parameters: { type: 'object' } } }]
    const events = await all(begin(engine, await prepare(engine, { ...six, tools, tool_choice: 'required' })))
    const { chats } = await at.seen()
    expect(JSON.stringify(chats.at(-1)?.body)).not.toContain(name)
    expect(events.filter(({ kind }) => kind === 'tool')).toEqual([{ kind: 'tool', name, arguments: '{}' }])
  })

  it('[HTE8] a refusal is attributed to the request or to the engine, before any token is counted', async () => {
    const prepared = await prepare(engine)
    const error = { message: 'grammar is too large', type: 'invalid_request_error', code: 400 }
    await at.say({ refusal: { status: 400, body: { error } } })
    const refused = begin(engine, prepared)
    await expect(all(refused)).rejects.toMatchObject({ refusal: { code: 'invalid_value' } })
    await at.say({ refusal: { status: 503, body: { error: { message: 'Loading model' } } } })
    const failed = all(begin(engine, prepared))
    await expect(failed).rejects.toBeInstanceOf(EngineFailure)
    await expect(failed).rejects.not.toBeInstanceOf(EngineRefused)
    expect(refused.counts).toEqual({ promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 })
  })

  it('[HTE9] the prefix cache is separate for each tenant, unless all requests share one salt', async () => {
    const shared = await connect(at, { saltOf: () => '' })
    await all(begin(engine, await prepare(engine)))
    await all(begin(shared, await prepare(shared)))
    const bodies = (await at.seen()).chats.slice(-2).map(({ body }) => body.cache_prompt)
    expect(bodies).toEqual([false, true])
  })

  it('[HTE10] one connection serves one answer after another', async () => {
    await at.say({ lingerMs: 10 })
    await all(begin(engine, await prepare(engine)))
    const before = (await at.seen()).connections
    for (let turn = 0; turn < 10; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      await all(begin(engine, await prepare(engine)))
    }
    // The test's own requests use a connection too, and so may a health check.
    expect((await at.seen()).connections - before).toBeLessThanOrEqual(3)
  })

  it('[HTE11] an endpoint that is not the named engine is refused, and an engine with less capacity logs a warning', async () => {
    const other = { ...llama, title: 'another engine', attach: { calls: [], read: () => undefined } }
    await expect(connect(at, { backend: other })).rejects.toThrow(
      'cannot be used: the endpoint is not another engine. Set TRAMONTANE_BACKEND to the engine that runs there.',
    )
    const attached = { version: '1', model: 'm', contextTokens: 512, slotsMax: 2, capabilities: llama.capabilities }
    const fault = { trait: null, message: 'version 1 breaks thinking: take 2' }
    const faulty = (kind: 'broken' | 'degraded') => ({
      ...llama,
      attach: { calls: [], read: () => ({ ...attached, faults: [{ ...fault, kind }] }) },
    })
    await expect(connect(at, { backend: faulty('broken') })).rejects.toThrow('version 1 breaks thinking: take 2.')
    const degraded = await connect(at, { backend: faulty('degraded') })
    expect(degraded.description).toMatchObject({ contextTokens: 512, slotsMax: 2 })
    expect(lines).toContain('engine: version 1 breaks thinking: take 2')
    expect(lines).toContain('engine: its context is 512 tokens per request, less than the configured 4096')
  })
})

describe('vLLM over HTTP', () => {
  const vllm = findBackend('vllm') as HttpBackend
  let at: EngineAt
  beforeAll(async () => {
    at = await startEngineProcess({ dialect: 'vllm', version: '0.32.0', thinking: 2 })
  })
  afterAll(() => at.stop())
  afterEach(() => Promise.all(engines.splice(0).map((each) => each.close())))

  it('[HTE14] bound, effort, salt and priority reach vLLM in its own fields, with the lower priority number first', async () => {
    const engine = await connect(at, { backend: vllm, enables: { priority: true } })
    expect(engine.description).toMatchObject({ engine: 'vllm', version: '0.32.0' })
    const run = begin(engine, await prepare(engine), {
      requestId: 'req_1',
      outputTokensMax: 9,
      priority: 7,
      owner: 'b',
    })
    const events = await all(run)
    expect([text(events, 'reasoning'), text(events)]).toEqual(['w0 w1 ', 'w2 w3 w4 '])
    expect(run.counts).toEqual({ promptTokens: 6, cachedTokens: 0, outputTokens: 5, reasoningTokens: 2 })
    expect(run.estimated).toBe(false)
    expect((await at.seen()).chats.at(-1)?.body).toMatchObject({
      ...{ max_tokens: 9, reasoning_effort: 'none', cache_salt: 'salt of b', priority: 7, request_id: 'req_1' },
    })
  })

  it('[HTE15] a vLLM version that is broken for the model is refused with the reason', async () => {
    await at.say({ version: '0.19.1' })
    await expect(connect(at, { backend: vllm })).rejects.toThrow(/vLLM 0\.19\.1 .* Use 0\.20 or newer\.$/)
    await at.say({ version: `0.32.0+${'x'.repeat(200)}` })
    const { state, description } = await connect(at, { backend: vllm })
    // A receipt limits the engine's name and version to 64 characters.
    expect([state, description.version.length]).toEqual(['ready', 40])
  })
})

describe('the first chat of an engine over HTTP', () => {
  const vllm = findBackend('vllm') as HttpBackend
  const quick = { ...times, retryFirstMs: 20, retryMaxMs: 40 }
  const error = (message: string) => ({ error: { message, type: 'BadRequestError', param: null, code: 400 } })
  let at: EngineAt
  afterEach(async () => {
    await Promise.all(engines.splice(0).map((each) => each.close()))
    await at.stop()
  })

  /** The engine, not ready, once it has said why. */
  async function unready(options: Partial<HttpEngineOptions>) {
    lines = []
    const connected = connect(at, { supervisorTimes: quick, ...options })
    let ready = false
    connected.then(
      () => {
        ready = true
      },
      () => undefined,
    )
    const engine = engines.at(-1) as Engine
    const said = async () => engine.reason ?? ''
    await eventually(said, (reason) => reason.startsWith('the engine is not ready:'))
    return { engine, connected, isReady: () => ready }
  }

  it('[HTE16] an engine is ready only after it has answered a chat of one token at the lowest effort', async () => {
    at = await startEngineProcess()
    expect((await at.seen()).chats).toEqual([])
    const engine = await connect(at)
    const { chats } = await at.seen()
    expect(chats.map(({ body, tokensSent }) => [body.max_tokens, body.reasoning_effort, tokensSent])).toEqual([
      [1, 'none', 1],
    ])
    expect(engine.load()).toMatchObject({ promptTokensTotal: 0, outputTokensTotal: 0, running: 0 })
  })

  it('[HTE17] an engine that refuses an everyday chat stays not ready with the reason and is tried again until it answers', async () => {
    const refusal = { status: 400, body: error('the chat template raises an error') }
    at = await startEngineProcess({ refusal })
    const { engine, connected, isReady } = await unready({ supervisorTimes: { ...quick, loadMs: 100 } })
    const reason =
      'the engine is not ready: it answers an everyday chat with 400: llama.cpp refused: the chat template raises an error.'
    await eventually(
      async () => (await at.seen()).chats.length,
      (chats) => chats > 8,
    )
    expect([engine.state, engine.reason, isReady()]).toEqual(['starting', reason, false])
    // The cause is logged once, and the engine is not restarted.
    expect(lines.filter((line) => line.includes('not ready'))).toHaveLength(1)
    await expect(engine.prepare(chatOf(six), 'none')).rejects.toThrow(reason)
    await at.say({ refusal: null })
    await connected
    expect([engine.state, engine.load().restartsTotal]).toEqual(['ready', 0])
  })

  it('[HTE18] vLLM with mistral_common 1.13 is named with the command that repairs it', async () => {
    const body = error(
      "GrammarFactory.get_lark_from_jinja() missing 1 required keyword-only argument: 'force_tool_names'",
    )
    at = await startEngineProcess({ dialect: 'vllm', version: '0.33.0', refusal: { status: 400, body } })
    const { engine } = await unready({ backend: vllm })
    expect(engine.reason).toContain('uv pip install vllm "mistral_common>=1.11.6,<1.13"')
    expect(lines.join()).toContain('uv pip install vllm "mistral_common>=1.11.6,<1.13"')
  })

  it('[HTE19] an engine that fails or stalls in its first chat stays not ready and is given up after its load time', async () => {
    at = await startEngineProcess({ fault: { after: 0, kind: 'error-event' } })
    const failing = await unready({})
    expect(failing.engine.reason).toContain('broke off: ')
    await at.say({ fault: { after: 0, kind: 'stall' } })
    const stalling = connect(at, { supervisorTimes: { ...quick, loadMs: 300 }, tryMs: 100 })
    await expect(stalling).rejects.toThrow(/was not ready within 1 s/)
    expect(lines.join()).toContain('it did not answer a chat of one token: it took too long.')
  })
})

describe('an engine over HTTP, launched', () => {
  it('[HTE12] a crash under load fails every run with a reason, and the next process serves the next request', async () => {
    const port = await freePort()
    const at = engineAt(port)
    const script: Partial<Script> = { tokens: 1_000, tokenMs: 2 }
    const command = { command: process.execPath, args: [engineProgram, String(port), JSON.stringify(script)], env: {} }
    const engine = await connect(at, {
      start: () => launch(command, { graceMs: 200, line: () => undefined }),
      rules: { ...launchedRules('llama-cpp', () => ''), backoffFirstMs: 20 },
    })
    const prepared = await prepare(engine)
    const runs = Array.from({ length: 8 }, () => begin(engine, prepared, { outputTokensMax: 1_000 }))
    const ends = runs.map((run) =>
      all(run).then(
        () => 'complete',
        (error: unknown) => error,
      ),
    )
    await eventually(
      async () => engine.load().outputTokensTotal,
      (tokens) => tokens > 40,
    )
    await at.say({ fault: { after: 0, kind: 'crash' } })
    await all(begin(engine, prepared)).catch(() => undefined)
    for (const end of await Promise.all(ends)) expect(end).toBeInstanceOf(EngineFailure)
    for (const { counts } of runs) expect(counts.outputTokens).toBeGreaterThan(0)
    expect(engine.load().running).toBe(0)
    const back = () => Promise.resolve(engine.load().restartsTotal === 1 && engine.state === 'ready')
    expect(await eventually(back, Boolean)).toBe(true)
    const next = begin(engine, await prepare(engine), { outputTokensMax: 3 })
    expect(text(await all(next))).toBe('w0 w1 w2 ')
    const open = all(begin(engine, prepared, { outputTokensMax: 1_000 }))
    open.catch(() => undefined)
    await engine.close()
    await expect(open).rejects.toThrow('the engine was closed')
    await expect(fetch(`${at.url}/health`)).rejects.toThrow()
    await expect(engine.prepare(chatOf(six), 'none')).rejects.toThrow('the engine is closed')
  })
})

describe('plausible', () => {
  const counts = fc.record({
    promptTokens: fc.nat(100),
    cachedTokens: fc.nat(100),
    outputTokens: fc.nat(100),
    reasoningTokens: fc.nat(100),
  })
  const seen = fc.record({
    promptTokens: fc.integer({ min: 1, max: 100 }),
    promptCounted: fc.boolean(),
    deltas: fc.nat(100),
    outputTokensMax: fc.integer({ min: 1, max: 100 }),
  })

  it('[HTE13] accepted counts never have a part above its total or output below the received tokens, and a change is marked', () => {
    fc.assert(
      fc.property(counts, seen, (reported, witnessed) => {
        const { counts: accepted, doubtful } = plausible(reported, witnessed)
        expect(accepted.cachedTokens).toBeLessThanOrEqual(accepted.promptTokens)
        expect(accepted.reasoningTokens).toBeLessThanOrEqual(accepted.outputTokens)
        expect(accepted.outputTokens).toBeGreaterThanOrEqual(witnessed.deltas)
        expect(accepted.outputTokens).toBeLessThanOrEqual(Math.max(witnessed.deltas, witnessed.outputTokensMax))
        expect(accepted.promptTokens).toBeLessThanOrEqual(witnessed.promptTokens)
        if (witnessed.promptCounted) expect(accepted.promptTokens).toBe(witnessed.promptTokens)
        expect(doubtful).toBe(JSON.stringify(accepted) !== JSON.stringify(reported))
      }),
    )
  })
})
