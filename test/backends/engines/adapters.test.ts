/** All adapters: their requests, their refusals, and how they read each engine's answers. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  type Attached,
  type BackendEvent,
  type Capabilities,
  capabilities,
  type HttpAnswer,
  type HttpBackend,
  type LaunchSettings,
  type RequestTerms,
} from '../../../backends/contract/backend.ts'
import { readMetrics } from '../../../backends/contract/prometheus.ts'
import { isOlder } from '../../../backends/contract/version.ts'
import { fake } from '../../../backends/engines/fake.ts'
import { llamaCpp } from '../../../backends/engines/llama-cpp.ts'
import { lmStudio } from '../../../backends/engines/lm-studio.ts'
import { mistral } from '../../../backends/engines/mistral.ts'
import { ollama } from '../../../backends/engines/ollama.ts'
import { createThinkSplit } from '../../../backends/engines/openai/think-split.ts'
import { openaiCompatible } from '../../../backends/engines/openai-compatible.ts'
import { httpBackends } from '../../../backends/engines/registry.ts'
import { sglang } from '../../../backends/engines/sglang.ts'
import { transformers } from '../../../backends/engines/transformers.ts'
import { vllm } from '../../../backends/engines/vllm.ts'
import { type Chat, readChat } from '../../../backends/model/chat.ts'
import type { EffortWord } from '../../../backends/model/effort.ts'
import { unfitImage } from '../../../backends/model/image.ts'

const all = httpBackends.map((backend) => [backend.name, backend] as const)
const baseTerms: RequestTerms = {
  requestId: 'req_1',
  effort: 'none',
  outputTokensMax: 50,
  priority: 3,
  cacheSalt: 's4lt',
}
const attach = ({ capabilities: can }: HttpBackend, more: Partial<Capabilities> = {}): Attached => ({
  version: '1',
  model: 'm',
  contextTokens: 100,
  slotsMax: 2,
  capabilities: { ...can, ...more },
  faults: [],
})

function chatOf(body: Record<string, unknown>): Chat {
  const read = readChat({ model: 'm', messages: [{ role: 'user', content: 'Hi' }], ...body })
  if (!read.ok) throw new Error(read.message)
  return read.chat
}

function ask(
  backend: HttpBackend,
  body: Record<string, unknown>,
  { can = {}, ...terms }: Partial<RequestTerms> & { can?: Partial<Capabilities> } = {},
) {
  return backend.request(chatOf(body), { ...baseTerms, ...terms }, attach(backend, can))
}

function sent(...[backend, body, terms]: Parameters<typeof ask>): Record<string, unknown> & { messages: unknown[] } {
  const request = ask(backend, body, terms)
  if (!request.ok) throw new Error(request.message)
  return JSON.parse(request.call.body)
}

const tools = [
  { type: 'function', function: { name: 'look', parameters: { type: 'object' } } },
  { type: 'function', function: { name: 'find', parameters: { type: 'object' } } },
]
const named = { type: 'function', function: { name: 'find' } }
const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } }
const schema = { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'object' } } }

describe('a missing capability', () => {
  const cases: [keyof Capabilities, string, Record<string, unknown>, EffortWord][] = [
    ['efforts', 'reasoning_effort', {}, 'medium'],
    ['vision', 'messages', { messages: [{ role: 'user', content: [image] }] }, 'none'],
    ['tools', 'tools', { tools }, 'none'],
    ['forcedTool', 'tool_choice', { tools, tool_choice: named }, 'none'],
    ['jsonSchema', 'response_format', { response_format: schema }, 'none'],
    ['jsonObject', 'response_format', { response_format: { type: 'json_object' } }, 'none'],
    ['stopsMax', 'stop', { stop: ['a'] }, 'none'],
    ['prefix', 'messages', { messages: [{ role: 'assistant', content: 'So', prefix: true }] }, 'none'],
  ]

  it.each(all)('[ADP1] a missing capability is refused with its field, a supported one is sent (%s)', (_, backend) => {
    for (const [capability, param, body, effort] of cases) {
      const off = { [capability]: capability === 'efforts' ? ['none'] : capability === 'stopsMax' ? 0 : false }
      // A forced tool needs support for tools.
      const can = capability === 'forcedTool' ? { tools: true, ...off } : off
      expect(ask(backend, body, { effort, can })).toMatchObject({ ok: false, code: 'invalid_value', param })
      const on = { [capability]: capability === 'efforts' ? ['medium'] : capability === 'stopsMax' ? 4 : true }
      expect(ask(backend, body, { effort, can: { tools: true, ...on } }).ok).toBe(true)
    }
  })

  it.each(all)('[ADP2] a missing capability that changes no meaning is a warning and not sent (%s)', (_, backend) => {
    const body = {
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Yes', reasoning_content: 'Hm.' },
        { role: 'user', content: 'So?' },
      ],
      seed: 7,
      presence_penalty: 1,
      frequency_penalty: 1,
      tools,
      parallel_tool_calls: false,
    }
    const off = { seed: false, penalties: false, parallelTools: false, reasoningHistory: false, tools: true }
    const request = ask(backend, body, { can: off })
    if (!request.ok) throw new Error(request.message)
    const fields = request.warnings.map((warning) => warning.split(':')[0])
    expect(fields).toEqual(['seed', 'frequency_penalty, presence_penalty', 'parallel_tool_calls', 'messages'])
    expect(request.call.body).not.toMatch(/seed"|penalty|parallel|Hm\./)
  })

  it('[ADP3] no self-hosted engine is given a URL to fetch', () => {
    const remote = { type: 'image_url', image_url: { url: 'https://10.0.0.1/a.png' } }
    const chat = {
      ...chatOf({}),
      messages: [{ role: 'user', content: [{ kind: 'image', url: remote.image_url.url }] }],
    }
    for (const backend of httpBackends) {
      const request = backend.request(chat as Chat, baseTerms, attach(backend, { vision: true }))
      // Mistral's API fetches on its own network.
      expect(request.ok).toBe(backend === mistral)
    }
  })

  it('[ADP32] an engine that may be llama.cpp takes no image that ends it, and vLLM takes any', () => {
    for (const backend of [llamaCpp, lmStudio, ollama, openaiCompatible])
      expect(backend.capabilities.images).toMatchObject({ sideMin: 2, aspectMax: 1_000 })
    expect(llamaCpp.capabilities.images.formats).not.toContain('webp')
    expect(vllm.capabilities.images.sideMin).toBe(1)
    expect(
      unfitImage({ format: 'webp', size: { width: 1, height: 64_000_000 } }, vllm.capabilities.images),
    ).toBeUndefined()
  })

  it('[ADP33] a prompt that llama-server cannot count is left to its chat, and a busy server is not', () => {
    const probe = llamaCpp.count?.(chatOf({}), baseTerms, attach(llamaCpp))
    const read = (status: number) => probe?.read([{ status, headers: {}, body: '{}' }])
    expect(read(500)).toBeUndefined()
    expect(read(503)).toMatchObject({ ok: false, code: 'server_is_overloaded' })
    expect(read(400)).toMatchObject({ ok: false, code: 'invalid_value' })
  })

  it('[ADP4] a capability that an adapter does not declare is off', () => {
    const { efforts, stopsMax, images, ...rest } = capabilities({})
    expect({ efforts, stopsMax }).toEqual({ efforts: ['none'], stopsMax: 0 })
    expect(images).toMatchObject({ sideMin: 2, aspectMax: 1_000 })
    expect(Object.values(rest).every((value) => value === false)).toBe(true)
  })
})

const Turn = z.object({
  tool_call_id: z.string().optional(),
  tool_calls: z.array(z.object({ id: z.string() })).optional(),
})

describe('a request to an engine', () => {
  it('[ADP5] effort is sent in the field that the engine reads, and not to an engine that reads none', () => {
    const efforts = (backend: HttpBackend, effort: EffortWord) => {
      const { reasoning_effort: plain, chat_template_kwargs: template } = sent(backend, {}, { effort })
      return plain ?? template
    }
    for (const backend of [vllm, sglang, llamaCpp, lmStudio, mistral, fake])
      expect([efforts(backend, 'none'), efforts(backend, 'high')]).toEqual(['none', 'high'])
    expect(efforts(transformers, 'high')).toEqual({ reasoning_effort: 'high' })
    // Ollama's models reason by default, and refuse `high`.
    expect([efforts(ollama, 'none'), efforts(ollama, 'high')]).toEqual(['none', undefined])
    expect(efforts(openaiCompatible, 'none')).toBeUndefined()
  })

  it('[ADP6] a lower priority is served first, and none is sent to an engine that would refuse it', () => {
    const can = { priority: true }
    expect(sent(vllm, {}, { can }).priority).toBe(3)
    expect(sent(sglang, {}, { can }).priority).toBe(-3)
    for (const backend of httpBackends)
      expect(sent(backend, {}, { can: { priority: false } })).not.toHaveProperty('priority')
  })

  it('[ADP7] prefix caches are separated by tenant where possible, and shared only without a salt', () => {
    expect(sent(vllm, {}).cache_salt).toBe('s4lt')
    expect(sent(sglang, {}).cache_salt).toBe('s4lt')
    expect(sent(llamaCpp, {}).cache_prompt).toBe(false)
    expect(sent(llamaCpp, {}, { cacheSalt: '' }).cache_prompt).toBe(true)
    for (const backend of [vllm, sglang]) expect(sent(backend, {}, { cacheSalt: '' })).not.toHaveProperty('cache_salt')
  })

  it('[ADP8] a named tool is sent by name or as the only required tool, never as `auto`', () => {
    const body = { tools, tool_choice: named }
    for (const backend of [vllm, sglang, mistral]) expect(sent(backend, body).tool_choice).toEqual(named)
    for (const backend of [llamaCpp, lmStudio]) {
      const { tools: shown, tool_choice: choice } = sent(backend, body)
      expect([shown, choice]).toEqual([
        [expect.objectContaining({ function: expect.objectContaining({ name: 'find' }) })],
        'required',
      ])
    }
    expect(sent(mistral, { tools, tool_choice: 'required' }).tool_choice).toBe('any')
    for (const backend of [transformers, ollama]) {
      expect(sent(backend, { tools })).not.toHaveProperty('tool_choice')
      expect(sent(backend, { tools, tool_choice: 'none' })).not.toHaveProperty('tools')
    }
  })

  it('[ADP9] reasoning of earlier turns is sent in the engine’s own field', () => {
    const body = {
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Yes', reasoning_content: 'Hm.' },
        { role: 'user', content: 'So?' },
      ],
    }
    const turn = (backend: HttpBackend) => sent(backend, body).messages[1]
    for (const backend of [vllm, ollama])
      expect(turn(backend)).toEqual({ role: 'assistant', content: 'Yes', reasoning: 'Hm.' })
    for (const backend of [sglang, llamaCpp])
      expect(turn(backend)).toEqual({ role: 'assistant', content: 'Yes', reasoning_content: 'Hm.' })
    expect(turn(mistral)).toMatchObject({ content: [{ type: 'thinking' }, { type: 'text', text: 'Yes' }] })
    for (const backend of [transformers, lmStudio, openaiCompatible])
      expect(turn(backend)).toEqual({ role: 'assistant', content: 'Yes' })
  })

  it('[ADP10] call ids have nine letters or digits, the same in a call and in its result', () => {
    const call = (id: string) => ({ id, type: 'function', function: { name: 'look', arguments: '{}' } })
    const body = {
      messages: [
        { role: 'user', content: 'Hi' },
        // vLLM cuts ids to their last nine letters, so these two would collide.
        { role: 'assistant', tool_calls: [call('call_a_123456789'), call('call_b_123456789')] },
        { role: 'tool', tool_call_id: 'call_a_123456789', content: '1' },
        { role: 'tool', tool_call_id: 'call_b_123456789', content: '2' },
      ],
    }
    for (const backend of httpBackends) {
      const [, turn, one, two] = z.array(Turn).parse(sent(backend, body).messages)
      const ids = turn?.tool_calls?.map(({ id }) => id) ?? []
      expect(ids).toEqual([one?.tool_call_id, two?.tool_call_id])
      expect(new Set(ids).size).toBe(2)
      for (const id of ids) expect(id).toMatch(/^[a-zA-Z0-9]{9}$/)
    }
  })

  it('[ADP11] the bound is set, the answer streams, and a strict engine gets only known fields', () => {
    for (const backend of httpBackends)
      expect(sent(backend, { max_tokens: 9 })).toMatchObject({ max_tokens: 50, stream: true })
    const unnamed = vllm.request(chatOf({}), baseTerms, { ...attach(vllm), model: '' })
    expect(unnamed.ok && Object.keys(JSON.parse(unnamed.call.body))).not.toContain('model')
    const loaded = { tools, temperature: 0.7, top_p: 0.9, seed: 1, user: 'u' }
    // `transformers serve` ignores these fields and only logs them.
    const ignored =
      'reasoning_effort response_format tool_choice parallel_tool_calls stream_options presence_penalty user'.split(' ')
    expect(Object.keys(sent(transformers, loaded)).filter((name) => ignored.includes(name))).toEqual([])
    expect(sent(mistral, loaded)).not.toHaveProperty('stream_options')
  })

  it('[ADP12] without reasoning, a schema or a forced call constrains from the first token', () => {
    const held = { response_format: schema }
    expect(sent(vllm, held).include_reasoning).toBe(false)
    expect(sent(vllm, { tools, tool_choice: 'required' }).include_reasoning).toBe(false)
    expect(sent(vllm, held, { effort: 'high' })).not.toHaveProperty('include_reasoning')
    expect(sent(vllm, { tools })).not.toHaveProperty('include_reasoning')
    expect(sent(llamaCpp, held).reasoning_format).toBe('none')
    expect(sent(llamaCpp, held, { effort: 'high' })).not.toHaveProperty('reasoning_format')
  })
})

const answer = (value: unknown, status = 200): HttpAnswer => ({
  status,
  headers: {},
  body: typeof value === 'string' ? value : JSON.stringify(value),
})

describe('attaching', () => {
  const attachVllm = (version: string) =>
    vllm.attach.read([
      answer({ version }),
      answer({ data: [{ id: 'm', owned_by: 'vllm', max_model_len: 262_144 }] }),
      answer({ count: 9 }),
      answer(''),
    ])
  const broken = (attached: Attached | undefined) =>
    attached?.faults.filter(({ kind }) => kind === 'broken').map(({ message }) => message)

  it('[ADP13] attaching to a vLLM version that is broken for Small 4 names the version to use', () => {
    expect(broken(attachVllm('0.18.0'))).toEqual([
      expect.stringContaining('vllm#38560'),
      expect.stringContaining('vllm#37081'),
    ])
    expect(broken(attachVllm('0.19.1'))).toEqual([expect.stringMatching(/0\.19\.1.*Use 0\.20 or newer/)])
    expect(broken(attachVllm('0.20.0'))).toEqual([])
    expect(attachVllm('0.22.3')?.faults.map(({ trait }) => trait)).toEqual(['cached-tokens'])
    expect(attachVllm('0.32.0')?.faults).toEqual([])
    expect(isOlder('0.9', '0.20')).toBe(true)
    expect(isOlder('0.20.0rc1', '0.20')).toBe(false)
  })

  it('[ADP14] attaching to SGLang reads its launch settings and names the flag of each missing one', () => {
    const attachSglang = (info: Record<string, unknown>) =>
      sglang.attach.read([
        answer({ version: '0.5.23', ...info }),
        null,
        answer({ data: [{ id: 'm', owned_by: 'sglang', max_model_len: 100 }] }),
      ])
    expect(attachSglang({})?.faults.map(({ message }) => /--[a-z-]+/.exec(message)?.[0])).toEqual([
      '--reasoning-parser',
      '--tool-call-parser',
      '--enable-cache-report',
      '--enable-metrics',
    ])
    const eagle = attachSglang({ speculative_algorithm: 'EAGLE', attention_backend: 'triton' })
    expect(broken(eagle)).toEqual([expect.stringContaining('sglang#27367')])
    // With low values first the negated priority would be wrong, so none is sent.
    const low = attachSglang({ enable_priority_scheduling: true, schedule_low_priority_values_first: true })
    expect(low?.capabilities.priority).toBe(false)
    expect(attachSglang({ enable_priority_scheduling: true })?.capabilities.priority).toBe(true)
  })

  it('[ADP15] attaching reports a cut prompt and a model that is not loaded', () => {
    const ollamaIs = (tags: unknown[]) =>
      ollama.attach.read([answer({ version: '0.40.12' }), answer({ models: [] }), answer({ models: tags })])
    expect(ollamaIs([{ name: 'm' }])?.faults.map(({ trait }) => trait)).toContain('over-context')
    expect(broken(ollamaIs([]))).toEqual([expect.stringContaining('ollama create')])
    const older = answer({ data: [{ id: 'm', type: 'vlm', state: 'not-loaded' }] })
    expect(broken(lmStudio.attach.read([null, older]))).toEqual([expect.stringContaining('lms load')])
  })
})

function read(backend: HttpBackend, ...chunks: unknown[]): BackendEvent[] {
  const reader = backend.reader(baseTerms, true)
  const text = chunks.map((chunk) => `data: ${typeof chunk === 'string' ? chunk : JSON.stringify(chunk)}\n\n`).join('')
  return [...reader.push(new TextEncoder().encode(text)), ...reader.end()].filter(({ kind }) => kind !== 'piece')
}
const chunk = (delta: unknown, finish: string | null = null) => ({
  choices: [{ index: 0, delta, finish_reason: finish }],
})
const call = (args: string) => ({
  tool_calls: [{ index: 0, id: 'abcdefghi', function: { name: 'look', arguments: args } }],
})

const pattern = /^[a-zA-Z0-9_-]{1,64}$/
const long = `mcp__plugin_${'chrome-devtools-'.repeat(5)}__get_console_message`
const past = (name: string) => ({
  role: 'assistant',
  tool_calls: [{ id: 'abcdefghi', type: 'function', function: { name, arguments: '{}' } }],
})
const toolNamed = (name: string) => ({ type: 'function', function: { name, parameters: { type: 'object' } } })

interface SentTools {
  tools: { function: { name: string; strict?: boolean } }[]
  tool_choice?: unknown
  messages: { tool_calls?: { function: { name: string } }[] }[]
}

describe('tools', () => {
  function asked(backend: HttpBackend, body: Record<string, unknown>) {
    const request = ask(backend, body, { can: { tools: true, forcedTool: true } })
    if (!request.ok) throw new Error(request.message)
    return { ...request, body: JSON.parse(request.call.body) as SentTools }
  }
  const called = (backend: HttpBackend, name: string, clientNames: ReadonlyMap<string, string>, streams: boolean) => {
    const reader = backend.reader(baseTerms, streams, clientNames)
    const said = { tool_calls: [{ index: 0, id: 'abcdefghi', function: { name, arguments: '{}' } }] }
    const choices = [{ index: 0, [streams ? 'delta' : 'message']: said, finish_reason: 'tool_calls' }]
    const text = streams ? `data: ${JSON.stringify({ choices })}\n\n` : JSON.stringify({ choices })
    const events = [...reader.push(new TextEncoder().encode(text)), ...reader.end()]
    return events.flatMap((event) => (event.kind === 'call' ? [event.call.name] : []))
  }

  it.each(all)(
    '[ADP40] a name that engines refuse is sent as a short one and comes back as the client’s (%s)',
    (_, backend) => {
      const body = {
        messages: [{ role: 'user', content: 'Hi' }, past(long), past('old.tool with space'), past('')],
        tools: [toolNamed(long), toolNamed('look')],
        tool_choice: { type: 'function', function: { name: long } },
      }
      const first = asked(backend, body)
      const names = first.body.messages
        .flatMap(({ tool_calls: calls }) => calls ?? [])
        .map((call) => call.function.name)
      const sentTool = first.body.tools[0]?.function.name ?? ''
      expect([...names, sentTool].every((name) => pattern.test(name))).toBe(true)
      expect(names[0]).toBe(sentTool)
      expect(sentTool).toContain('__get_console_message')
      expect(first.call.body).not.toContain(long)
      expect(new Set(names).size).toBe(3)
      for (const streams of [true, false]) {
        expect(called(backend, sentTool, first.clientNames, streams)).toEqual([long])
        expect(called(backend, names[1] ?? '', first.clientNames, streams)).toEqual(['old.tool with space'])
        expect(called(backend, 'look', first.clientNames, streams)).toEqual(['look'])
      }
      // The same in the next turn, with another history.
      expect(asked(backend, { ...body, messages: [{ role: 'user', content: 'Hi' }] }).body.tools[0]).toEqual(
        first.body.tools[0],
      )
    },
  )

  it.each(all)('[ADP40] a client’s tool that has the name of a shortened one stays apart (%s)', (_, backend) => {
    const taken = asked(backend, { tools: [toolNamed(long)] }).body.tools[0]?.function.name ?? ''
    const other = `${long}2`
    const { body, clientNames } = asked(backend, { tools: [long, taken, other].map(toolNamed) })
    const sentNames = body.tools.map((tool) => tool.function.name)
    expect(new Set(sentNames).size).toBe(3)
    expect(sentNames[1]).toBe(taken)
    expect(sentNames.map((name) => called(backend, name, clientNames, true)[0])).toEqual([long, taken, other])
  })

  it('[ADP41] strict is sent where engines have it, and is a warning where calls may differ from the schema', () => {
    const strict = (name: string) => ({ type: 'function', function: { name, strict: true } })
    for (const backend of httpBackends) {
      const { body, warnings } = asked(backend, { tools: [toolNamed('look'), strict('find')] })
      const sends = backend === vllm || backend === sglang || backend === mistral
      expect(body.tools.map((tool) => tool.function.strict)).toEqual([undefined, sends ? true : undefined])
      const warned = warnings.some((warning) => warning.startsWith('tools[1].function.strict:'))
      expect(warned).toBe(!sends && backend !== llamaCpp)
    }
  })
})

describe('an engine’s answer', () => {
  it('[ADP16] an answer ends with a finish reason that clients know, or fails', () => {
    const text = chunk({ content: 'Hi' })
    for (const backend of httpBackends) {
      for (const reason of ['stop', 'length'])
        expect(read(backend, text, chunk({}, reason), '[DONE]').at(-1)).toEqual({ kind: 'end', finishReason: reason })
      for (const ends of [[], [chunk({}, 'abort')], [chunk({}, 'error')], [chunk({}, 'content_filter')], ['[DONE]']])
        expect(read(backend, text, ...ends).at(-1)?.kind).toBe('failed')
    }
  })

  it('[ADP17] a mid-stream error fails the answer, in every form that engines use', () => {
    const forms = [
      { error: { message: 'out of memory', type: 'InternalServerError', code: 500 } },
      { object: 'error', message: 'Generation aborted.', type: 'InternalServerError', param: null, code: 500 },
      { error: 'CUDA error' },
      { message: 'The service is unavailable.' },
    ]
    for (const backend of httpBackends)
      for (const form of forms) {
        const events = read(backend, chunk({ content: 'Hi' }), form, chunk({ content: 'no' }, 'stop'), '[DONE]')
        expect(events.map(({ kind }) => kind)).toEqual(['text', 'failed'])
      }
  })

  it('[ADP18] a call is reported as one call with any finish reason, and an incomplete call is not', () => {
    for (const backend of httpBackends) {
      // vLLM reports `stop` after a named tool.
      for (const reason of ['stop', 'tool_calls'])
        expect(read(backend, chunk(call('{"a":1}')), chunk({}, reason)).map(({ kind }) => kind)).toEqual([
          'call',
          'end',
        ])
      expect(read(backend, chunk(call('{"a":1}')), chunk({}, 'stop')).at(-1)).toEqual({
        kind: 'end',
        finishReason: 'tool_calls',
      })
      const cut = read(backend, chunk(call('{"a":')), chunk({}, 'length'))
      expect(cut).toMatchObject([
        { kind: 'call', call: { name: 'look', arguments: '{"a":' } },
        { kind: 'end', finishReason: 'length' },
      ])
      // Text that is not JSON is shown unchanged.
      expect(read(backend, chunk(call('{a}')), chunk({}, 'tool_calls'))).toEqual([
        { kind: 'text', channel: 'content', text: 'look{a}' },
        { kind: 'end', finishReason: 'stop' },
      ])
    }
  })

  it('[ADP19] reasoning is read from either field name and from markers in the text, split anywhere', () => {
    const texts = (backend: HttpBackend, ...deltas: unknown[]) =>
      read(backend, ...deltas.map((delta) => chunk(delta)), chunk({}, 'stop')).slice(0, -1)
    for (const name of ['reasoning', 'reasoning_content'])
      for (const backend of httpBackends)
        expect(texts(backend, { [name]: 'Hm' }, { content: 'So' })).toEqual([
          { kind: 'text', channel: 'reasoning', text: 'Hm' },
          { kind: 'text', channel: 'content', text: 'So' },
        ])
    const text = 'a[THINK]b [ c[/THINK]d[/TH'
    const textsOf = (...parts: string[]) => {
      const split = createThinkSplit('[THINK]', '[/THINK]')
      const events = [...parts.flatMap((part) => split.push(part)), ...split.flush()]
      const of = (channel: string) =>
        events.map((each) => (each.kind === 'text' && each.channel === channel ? each.text : '')).join('')
      return [of('content'), of('reasoning')]
    }
    for (let at = 0; at <= text.length; at++)
      expect(textsOf(text.slice(0, at), text.slice(at))).toEqual(['ad[/TH', 'b [ c'])
    expect(textsOf(...text)).toEqual(['ad[/TH', 'b [ c'])
  })

  it('[ADP20] usage is read from where each engine puts it', () => {
    const usage = (backend: HttpBackend, more: Record<string, unknown>) =>
      read(backend, { ...chunk({ content: 'x' }), ...more }, chunk({}, 'stop')).find(({ kind }) => kind === 'usage')
    const plain = { prompt_tokens: 20, completion_tokens: 9 }
    const reported = { promptTokens: 20, outputTokens: 9 }
    const cases: [HttpBackend, Record<string, unknown>, Record<string, unknown>][] = [
      [
        vllm,
        { usage: { ...plain, completion_tokens_details: { reasoning_tokens: 4 } } },
        { reasoningTokens: 4, cachedTokens: null },
      ],
      [
        vllm,
        { usage: { ...plain, prompt_tokens_details: { cached_tokens: 16 } } },
        { cachedTokens: 16, reasoningTokens: null },
      ],
      [sglang, { usage: { ...plain, reasoning_tokens: 4 } }, { reasoningTokens: 4 }],
      [
        llamaCpp,
        { timings: { prompt_n: 5, cache_n: 15, predicted_n: 9 } },
        { cachedTokens: 15, reasoningTokens: null },
      ],
      // litellm#41849 in front of vLLM: null is not zero.
      [vllm, { usage: { ...plain, completion_tokens_details: { reasoning_tokens: null } } }, { reasoningTokens: null }],
    ]
    for (const [backend, more, expected] of cases)
      expect(usage(backend, more)).toMatchObject({ usage: { ...reported, ...expected } })
  })
})

describe('an engine’s refusal', () => {
  it('[ADP21] a refusal maps to context too long, invalid request, overloaded or operator error', () => {
    const cases: [HttpBackend, number, unknown, Record<string, unknown>][] = [
      [
        llamaCpp,
        400,
        {
          error: {
            code: 400,
            message: 'request (9014 tokens) exceeds',
            type: 'exceed_context_size_error',
            n_prompt_tokens: 9_014,
            n_ctx: 4_096,
          },
        },
        { code: 'context_length_exceeded', promptTokens: 9_014 },
      ],
      [
        vllm,
        400,
        {
          error: {
            message: 'maximum context length is 4096',
            type: 'BadRequestError',
            param: 'input_tokens',
            code: 400,
          },
        },
        { code: 'context_length_exceeded', param: 'messages' },
      ],
      [
        sglang,
        400,
        { object: 'error', message: 'no', type: 'BadRequestError', param: null, code: 400 },
        { code: 'invalid_value', message: 'SGLang refused: no' },
      ],
      [
        lmStudio,
        400,
        { error: "'messages' field is required" },
        { code: 'invalid_value', message: "LM Studio refused: 'messages' field is required" },
      ],
      [transformers, 422, { detail: 'Unexpected fields in the request' }, { code: 'invalid_value', operator: false }],
      [
        ollama,
        404,
        { error: { message: 'model not found', type: 'not_found_error', param: null, code: null } },
        { code: 'server_is_overloaded', operator: true },
      ],
      [vllm, 401, { error: 'Unauthorized' }, { code: 'server_is_overloaded', operator: true }],
      [
        llamaCpp,
        503,
        { error: { code: 503, message: 'Loading model', type: 'unavailable_error' } },
        { code: 'server_is_overloaded', operator: false, retryAfterMs: 2_000 },
      ],
      [transformers, 503, { error: 'CB worker is dead' }, { code: 'server_is_overloaded', operator: false }],
      [openaiCompatible, 500, '<html>', { code: 'server_is_overloaded', operator: false }],
    ]
    for (const [backend, status, body, expected] of cases)
      expect(backend.failure(answer(body, status))).toMatchObject({ ok: false, ...expected })
  })
})

describe('load and health', () => {
  it('[ADP22] load is summed over the labels of the engine’s metrics, and a missing value is null', () => {
    const load = (backend: HttpBackend, text: string) => backend.load.read(backend.load.calls.map(() => answer(text)))
    const lines = (prefix: string, pairs: Record<string, number>) =>
      Object.entries(pairs)
        .flatMap(([name, value]) => [
          `# TYPE ${prefix}:${name} gauge`,
          `${prefix}:${name}{engine="0"} ${value}.0`,
          `${prefix}:${name}{engine="1"} 1`,
        ])
        .join('\n')
    expect(
      load(
        vllm,
        lines('vllm', {
          num_requests_running: 2,
          num_requests_waiting: 3,
          prompt_tokens_total: 9,
          generation_tokens_total: 4,
        }),
      ),
    ).toEqual({
      running: 3,
      waiting: 4,
      kvUsed: null,
      promptTokensTotal: 10,
      cachedTokensTotal: null,
      outputTokensTotal: 5,
    })
    expect(load(sglang, 'sglang:num_running_reqs{a="} 9"} 1.0\nsglang:token_usage{} 0.28\n')).toMatchObject({
      running: 1,
      kvUsed: 0.28,
    })
    expect(load(llamaCpp, 'llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n')).toMatchObject({
      running: 1,
      waiting: 2,
      kvUsed: null,
    })
    for (const backend of [vllm, sglang, llamaCpp]) expect(load(backend, '<html>').running).toBeNull()
    expect(readMetrics('a 1e3 1795521600000\nb NaN\nc').get('a')).toBe(1_000)
  })

  it('[ADP23] an engine that is loading is starting, and one that does not answer is down', () => {
    for (const backend of [vllm, sglang, llamaCpp])
      expect([200, 503, 500].map((status) => backend.health.read([answer('', status)]))).toEqual([
        'ready',
        'starting',
        'down',
      ])
    for (const backend of httpBackends) expect(backend.health.read(backend.health.calls.map(() => null))).toBe('down')
  })
})

describe('a launch', () => {
  const settings: LaunchSettings = {
    model: '/models/small-4',
    servedAs: 'mistral-small-4',
    host: '127.0.0.1',
    port: 9_000,
    contextTokens: 8_192,
    slotsMax: 4,
    batchTokens: 2_048,
    prefillChunkTokens: 512,
    performance: 'latency',
    speculation: { draftModel: '/models/eagle', tokens: 3, contextTokens: null },
    tensorParallel: 2,
    gpuCapability: 9,
    gpuMemoryUtilisation: 0.9,
    quantisation: 'fp8',
    cpuExpertLayers: null,
    threads: 6,
    apiKey: 'secret-key',
    extra: ['--last', 'word'],
  }

  it('[ADP24] a launch has every setting in the engine’s own flags, then the operator’s', () => {
    const flags = (backend: HttpBackend, more: Partial<LaunchSettings> = {}) =>
      backend.launch?.({ ...settings, ...more })
    const line = (backend: HttpBackend) => flags(backend)?.args.join(' ')
    expect(line(vllm)).toMatch(
      /--max-model-len 8192 --max-num-seqs 4 --max-num-batched-tokens 2048 .*--performance-mode interactivity/,
    )
    expect(line(vllm)).toMatch(
      /--reasoning-parser mistral .*--enable-prompt-tokens-details --scheduling-policy priority/,
    )
    expect(flags(vllm, { speculation: null })?.args.join(' ')).not.toContain('speculative')
    expect(flags(vllm)?.enables).toEqual({ priority: true })
    // llama-server divides the context among its slots.
    expect(line(llamaCpp)).toMatch(/--ctx-size 32768 --parallel 4 --no-kv-unified .*--jinja --metrics/)
    expect(line(sglang)).toMatch(
      /--context-length 8192 .*--chunked-prefill-size 512 --tensor-parallel-size 2 .*--enable-cache-report --enable-metrics/,
    )
    expect(line(transformers)).toMatch(/^serve \/models\/small-4 .*--continuous-batching .*--model-timeout -1/)
    for (const backend of [vllm, llamaCpp, sglang, transformers]) {
      expect(flags(backend)?.args.slice(-2)).toEqual(['--last', 'word'])
      expect(line(backend)).toContain('--port 9000')
    }
  })

  it('[ADP26] every flag of a launch is one that the engine accepts', () => {
    const known = { vllm: 'vllm-0.33.0', sglang: 'sglang-0.5.23', 'llama-cpp': 'llama-cpp-v0.4.0' }
    const wide: Partial<LaunchSettings>[] = [
      {},
      { speculation: null, gpuCapability: 12, quantisation: 'nvfp4', performance: 'throughput' },
      { model: 'owner/models-GGUF:Q4_K_M', cpuExpertLayers: 7 },
      { batchTokens: 512 },
    ]
    for (const backend of [vllm, sglang, llamaCpp]) {
      const list = new URL(`flags/${known[backend.name as keyof typeof known]}.txt`, import.meta.url)
      const accepted = readFileSync(list, 'utf8').split(/\s+/)
      const launches = wide.map((more) => backend.launch?.({ ...settings, ...more, extra: [] }))
      const used = launches.flatMap((launch) => [
        ...(launch?.args.filter((word) => word.startsWith('--')) ?? []),
        ...(launch?.notes.flatMap((note) => note.match(/(?<=^| |\()--[a-z-]+/g) ?? []) ?? []),
      ])
      expect(used.length).toBeGreaterThan(30)
      expect(used.filter((flag) => !accepted.includes(flag))).toEqual([])
    }
  })

  it('[ADP27] vLLM gets the attention kernel of the recipe by the GPU and the quantisation', () => {
    const kernel = (more: Partial<LaunchSettings>) => {
      const args = vllm.launch?.({ ...settings, ...more }).args ?? []
      return args[args.indexOf('--attention-backend') + 1 || args.length]
    }
    expect(kernel({ gpuCapability: 9 })).toBeUndefined()
    expect(kernel({ gpuCapability: null })).toBeUndefined()
    for (const gpuCapability of [8, 10, 12.1]) expect(kernel({ gpuCapability })).toBe('TRITON_MLA')
    expect(kernel({ quantisation: 'nvfp4' })).toBe('TRITON_MLA')
  })

  it('[ADP28] a launch has no flag that has no effect', () => {
    const line = (backend: HttpBackend, more: Partial<LaunchSettings>) =>
      backend.launch?.({ ...settings, ...more }).args.join(' ')
    // A threshold as large as the step never applies.
    expect(line(vllm, { prefillChunkTokens: 2_048 })).not.toContain('long-prefill')
    expect(line(vllm, {})).toContain('--long-prefill-token-threshold 512 --long-prefill-token-threshold-adaptive')
    // It only doubles limits that are not set.
    expect(line(vllm, { performance: 'throughput' })).not.toContain('--performance-mode')
    // Its real bound is never below the context length.
    expect(line(sglang, {})).not.toContain('--max-prefill-tokens')
    expect(line(llamaCpp, {})).not.toMatch(/--image-max-tokens|--n-cpu-moe|--n-gpu-layers/)
  })

  it('[ADP29] llama-server downloads a repository and gives images the tokens that the model takes', () => {
    const line = (more: Partial<LaunchSettings>) => llamaCpp.launch?.({ ...settings, ...more }).args.join(' ')
    const repository = 'owner/models-GGUF:Q4_K_M'
    expect(line({ model: repository })).toMatch(/^--hf-repo owner\/models-GGUF:Q4_K_M .*--image-max-tokens 3080/)
    for (const model of ['models/a.gguf', '/models/a', './a/b', 'a.gguf']) expect(line({ model })).toContain('--model ')
    expect(line({ extra: ['--mmproj', 'eyes.gguf'] })).toContain('--image-max-tokens 3080')
    expect(line({ cpuExpertLayers: 7 })).toContain('--n-gpu-layers all --n-cpu-moe 7')
    expect(line({ cpuExpertLayers: 0 })).toMatch(/--n-gpu-layers all(?!.*--n-cpu-moe)/)
  })

  it('[ADP30] vLLM’s notes install the versions that work, as its refusal says', () => {
    const pin = '"mistral_common>=1.11.6,<1.13"'
    expect(vllm.launch?.(settings).notes.join(' ')).toContain(pin)
    const refusal = answer({ message: "missing 1 required positional argument: 'force_tool_names'" }, 400)
    expect(vllm.cause?.(refusal)).toContain(pin)
  })

  it('[ADP31] the draft of a recipe is limited to the sequences that it and the model support', () => {
    const draft = (contextTokens: number | null, model: number) => {
      const speculation = { draftModel: 'd', tokens: 3, contextTokens }
      const args = vllm.launch?.({ ...settings, speculation, contextTokens: model }).args ?? []
      return JSON.parse(args[args.indexOf('--speculative-config') + 1] ?? '').max_model_len
    }
    expect(draft(65_536, 262_144)).toBe(65_536)
    expect(draft(65_536, 8_192)).toBe(8_192)
    expect(draft(null, 8_192)).toBeUndefined()
  })

  it('[ADP25] a launch passes the key in the environment if the engine can read it there', () => {
    for (const backend of [vllm, llamaCpp]) {
      const launch = backend.launch?.(settings)
      expect(launch?.args.join(' ')).not.toContain('secret-key')
      expect(Object.values(launch?.env ?? {})).toContain('secret-key')
    }
  })
})
