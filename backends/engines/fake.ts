/**
 * A deterministic engine for tests and benches: an adapter, and `fakeAnswer`, which produces the answer. It counts
 * words as tokens and reports all usage on every delta.
 *
 * It repeats the text of the last user message word by word, after some reasoning if the effort is `high`. `call NAME`
 * calls that tool, `fail` breaks the answer off in the middle, and `words N` answers with N words.
 */
import { z } from 'zod'
import { capabilities, type HttpBackend, type Load } from '../contract/backend.ts'
import { get } from '../contract/http-call.ts'
import { readMetrics } from '../contract/prometheus.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { type EngineDialect, openaiPrompt, openaiRequest, plainDialect, postPrompt } from './openai/body.ts'
import { openaiFailure } from './openai/failure.ts'

const can = capabilities({
  efforts: ['none', 'high'],
  reasoning: true,
  reasoningHistory: true,
  tools: true,
  parallelTools: true,
  forcedTool: true,
  seed: true,
  stopsMax: 16,
  priority: true,
  cacheSalt: true,
})

const dialect: EngineDialect = {
  ...plainDialect,
  extra: (terms) => ({ reasoning_effort: terms.effort, stream_options: { include_usage: true } }),
}

const Info = z.object({ fake: z.string(), context_tokens: z.int().min(1), slots: z.int().min(1) })
const Count = z.object({ count: z.int().min(0) })

export const fake: HttpBackend = {
  transport: 'http',
  name: 'fake',
  title: 'Fake',
  capabilities: can,
  truth: {
    promptBefore: 'counted',
    prompt: 'reported',
    cached: 'reported',
    output: 'reported',
    reasoning: 'counted',
    aborted: 'counted',
  },
  remedies: {},
  attach: {
    calls: [get('/fake')],
    read([answer]) {
      const reported = Info.safeParse(parseJson(answer?.body ?? '')).data
      if (!reported) return undefined
      const { fake: version, context_tokens: contextTokens, slots: slotsMax } = reported
      return { version, model: 'fake', contextTokens, slotsMax, capabilities: can, faults: [] }
    },
  },
  health: { calls: [get('/health')], read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down') },
  load: {
    calls: [get('/metrics')],
    read([answer]): Load {
      const of = (name: string) => readMetrics(answer?.body ?? '').get(`fake:${name}`) ?? null
      return {
        running: of('running'),
        waiting: of('waiting'),
        kvUsed: null,
        promptTokensTotal: of('prompt_tokens_total'),
        cachedTokensTotal: null,
        outputTokensTotal: of('output_tokens_total'),
      }
    },
  },
  count: (chat, _order, attached) => ({
    calls: [postPrompt('/count', openaiPrompt(chat, attached.capabilities, dialect))],
    read: ([answer]) => Count.safeParse(parseJson(answer?.body ?? '')).data?.count,
  }),
  request: (chat, terms, attached) => openaiRequest(chat, terms, attached, dialect),
  reader: (terms, streams, clientNames) => openaiReader({ idSeed: terms.requestId, clientNames }, streams),
  failure: (answer) => openaiFailure(answer, 'the fake engine'),
}

const FakeBody = z.object({
  messages: z.array(z.object({ role: z.string(), content: z.unknown() })),
  max_tokens: z.int().min(1).default(1_000_000),
  reasoning_effort: z.string().default('none'),
  stop: z.array(z.string()).default([]),
})

/** The answer to a body of `request`, or undefined if the body is invalid. Events are generated on demand. */
export function fakeAnswer(body: unknown): { promptTokens: number; events: Iterable<string> } | undefined {
  const request = FakeBody.safeParse(body).data
  return request && { promptTokens: fakeCount(request.messages), events: eventsOf(request) }
}

export function fakeCount(messages: readonly { content: unknown }[]): number {
  return messages.reduce((sum, { content }) => sum + textOf(content).split(' ').length + 1, 0)
}

function* eventsOf(request: z.infer<typeof FakeBody>): Iterable<string> {
  const promptTokens = fakeCount(request.messages)
  const prompt = textOf(request.messages.findLast(({ role }) => role === 'user')?.content)
  let outputTokens = 0
  const event = (delta: unknown, finish: string | null = null) =>
    `data: ${JSON.stringify({
      object: 'chat.completion.chunk',
      choices: [{ index: 0, delta, finish_reason: finish }],
      usage: {
        prompt_tokens: promptTokens,
        completion_tokens: outputTokens,
        prompt_tokens_details: { cached_tokens: 0 },
      },
    })}\n\n`
  const withinMax = () => outputTokens < request.max_tokens
  if (request.reasoning_effort === 'high') {
    for (const word of ['let', ' me', ' think']) {
      if (!withinMax()) break
      outputTokens++
      yield event({ reasoning_content: word })
    }
  }
  const name = /^call (\S+)/.exec(prompt)?.[1]
  if (name && withinMax()) {
    outputTokens++
    const call = { index: 0, id: 'fakecall1', type: 'function', function: { name, arguments: '{}' } }
    yield event({ tool_calls: [call] })
    yield event({}, 'tool_calls')
  } else {
    for (const word of wordsOf(prompt)) {
      if (!withinMax()) break
      if (request.stop.some((stop) => word.includes(stop))) break
      outputTokens++
      yield event({ content: word })
      if (prompt === 'fail') return
    }
    yield event({}, withinMax() ? 'stop' : 'length')
  }
  yield 'data: [DONE]\n\n'
}

function* wordsOf(prompt: string): Iterable<string> {
  const words = /^words (\d+)/.exec(prompt)?.[1]
  if (words) for (let index = 0; index < Number(words); index++) yield `w${index} `
  else yield* prompt.split(/(?<= )/)
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content
  return z
    .array(z.object({ text: z.string().default('') }))
    .catch([])
    .parse(content)
    .map(({ text }) => text)
    .join(' ')
}
