/**
 * An engine that always says the same, for tests and benches: a description like any other, and `fakeAnswer`, which is
 * the answer itself. It counts words as tokens and tells everything, on every delta.
 *
 * The text of the last user message is what it answers with, word by word, after a thought where the effort is `high`;
 * `call NAME` makes it call that tool, `fail` breaks it off in the middle, and `words N` says N words.
 */
import { z } from 'zod'
import { capabilities, type HttpBackend, type Load } from '../contract/backend.ts'
import { readMetrics } from '../contract/prometheus.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { type EngineDialect, get, openaiPrompt, openaiRequest, plainDialect, post } from './openai/body.ts'
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
  extra: (order) => ({ reasoning_effort: order.effort, stream_options: { include_usage: true } }),
}

const Who = z.object({ fake: z.string(), context_tokens: z.int().min(1), slots: z.int().min(1) })
const Count = z.object({ count: z.int().min(0) })

export const fake: HttpBackend = {
  transport: 'http',
  name: 'fake',
  title: 'Fake',
  capabilities: can,
  truth: {
    promptBefore: 'counted',
    prompt: 'told',
    cached: 'told',
    output: 'told',
    reasoning: 'counted',
    aborted: 'counted',
  },
  remedies: {},
  attach: {
    calls: [get('/fake')],
    read([answer]) {
      const reported = Who.safeParse(parseJson(answer?.body ?? '')).data
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
    calls: [post('/count', openaiPrompt(chat, attached.capabilities, dialect))],
    read: ([answer]) => Count.safeParse(parseJson(answer?.body ?? '')).data?.count,
  }),
  request: (chat, order, attached) => openaiRequest(chat, order, attached, dialect),
  reader: (order, streams) => openaiReader({ idSeed: order.requestId }, streams),
  failure: (answer) => openaiFailure(answer, 'the fake engine'),
}

const Asked = z.object({
  messages: z.array(z.object({ role: z.string(), content: z.unknown() })),
  max_tokens: z.int().min(1).default(1_000_000),
  reasoning_effort: z.string().default('none'),
  stop: z.array(z.string()).default([]),
})

/** The answer to a body of `request`, or undefined where it cannot be read. Lazy, so that a long one costs nothing. */
export function fakeAnswer(body: unknown): { promptTokens: number; events: Iterable<string> } | undefined {
  const asked = Asked.safeParse(body).data
  return asked && { promptTokens: fakeCount(asked.messages), events: eventsOf(asked) }
}

export function fakeCount(messages: readonly { content: unknown }[]): number {
  return messages.reduce((sum, { content }) => sum + textOf(content).split(' ').length + 1, 0)
}

function* eventsOf(asked: z.infer<typeof Asked>): Iterable<string> {
  const promptTokens = fakeCount(asked.messages)
  const said = textOf(asked.messages.findLast(({ role }) => role === 'user')?.content)
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
  const room = () => outputTokens < asked.max_tokens
  if (asked.reasoning_effort === 'high') {
    for (const word of ['let', ' me', ' think']) {
      if (!room()) break
      outputTokens++
      yield event({ reasoning_content: word })
    }
  }
  const name = /^call (\S+)/.exec(said)?.[1]
  if (name && room()) {
    outputTokens++
    const call = { index: 0, id: 'fakecall1', type: 'function', function: { name, arguments: '{}' } }
    yield event({ tool_calls: [call] })
    yield event({}, 'tool_calls')
  } else {
    for (const word of wordsOf(said)) {
      if (!room()) break
      if (asked.stop.some((stop) => word.includes(stop))) break
      outputTokens++
      yield event({ content: word })
      if (said === 'fail') return
    }
    yield event({}, room() ? 'stop' : 'length')
  }
  yield 'data: [DONE]\n\n'
}

function* wordsOf(said: string): Iterable<string> {
  const words = /^words (\d+)/.exec(said)?.[1]
  if (words) for (let index = 0; index < Number(words); index++) yield `w${index} `
  else yield* said.split(/(?<= )/)
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
