import { describe, expect, it } from 'vitest'
import { capabilities } from '../../../backends/contract/backend.ts'
import { mistral } from '../../../backends/engines/mistral.ts'
import { sglang } from '../../../backends/engines/sglang.ts'
import { vllm } from '../../../backends/engines/vllm.ts'
import { type Chat, type Message, readChat, type TurnPart } from '../../../backends/model/chat.ts'
import { noResultText, normaliseHistory, orphanText } from '../../../backends/model/history.ts'
import { mergeTurns } from '../../../backends/model/merge-turns.ts'
import { renderPrompt } from '../../../gpu-worker/engine/template.ts'
import { prepare } from '../../../src/chat/prepare.ts'
import { messages as anthropic } from '../../../src/dialects/anthropic/dialect.ts'
import { noPreviousTurns } from '../../../src/dialects/dialect.ts'
import { mistral as mistralDialect } from '../../../src/dialects/mistral/dialect.ts'
import { chatCompletions } from '../../../src/dialects/openai-chat/dialect.ts'
import { responses } from '../../../src/dialects/openai-responses/dialect.ts'
import { historyCases, randomHistories } from '../../tools/parity/history-cases.ts'

const text = (text: string) => ({ kind: 'text' as const, text })
const thinking = (text: string) => ({ kind: 'thinking' as const, text, closed: true })
const content = (said: string) => (said === '' ? [] : [text(said)])
const system = (said: string): Message => ({ role: 'system', content: content(said) })
const user = (said: string): Message => ({ role: 'user', content: content(said) })
const answer = (said: string | TurnPart[], ids: string[] = [], prefix = false): Message => ({
  role: 'assistant',
  content: typeof said === 'string' ? content(said) : said,
  toolCalls: ids.map((id) => ({ id, name: 'f', arguments: '{}' })),
  prefix,
})
const result = (id: string, said = id): Message => ({ role: 'tool', toolCallId: id, content: content(said) })
const none = (id: string): Message => ({ role: 'tool', toolCallId: id, content: [text(noResultText)] })

/** The messages, and the warnings without their texts. */
function normalised(...messages: Message[]) {
  const history = normaliseHistory(messages)
  expect(history.sources).toHaveLength(history.messages.length)
  return history
}

function paths(...messages: Message[]): string[] {
  return normalised(...messages).warnings.map((warning) => warning.split(': ')[0] ?? '')
}

function chatOf(messages: object[]): Chat {
  const read = readChat({ model: 'm', messages })
  if (!read.ok) throw new Error(read.message)
  return read.chat
}

const allCases = [...historyCases, ...randomHistories(2_000, 7)]

/** Histories of about `n` messages, results or calls. */
const longHistories: [string, (n: number) => Message[]][] = [
  [
    'answers that join a turn',
    (n: number) => [
      user('a'),
      ...Array.from({ length: n }, (_, i) => answer('b', [`${i}`])),
      ...Array.from({ length: n }, (_, i) => result(`${n - 1 - i}`)),
    ],
  ],
  [
    'calls of one id',
    (n: number) => [
      user('a'),
      answer(
        '',
        Array.from({ length: n }, () => 'x'),
      ),
      ...Array.from({ length: n }, () => result('x')),
    ],
  ],
  [
    'results of one call',
    (n: number) => [user('a'), answer('', ['x']), ...Array.from({ length: n }, (_, i) => result('x', `${i}`))],
  ],
  [
    'results before their calls',
    (n: number) => [
      ...Array.from({ length: n }, () => result('x')),
      user('a'),
      answer(
        '',
        Array.from({ length: n }, () => 'x'),
      ),
    ],
  ],
  [
    'instructions after an answer',
    (n: number) => [user('a'), answer('b'), ...Array.from({ length: n }, () => system('c'))],
  ],
  [
    'ids with one beginning',
    (n: number) => [
      user('a'),
      answer(
        '',
        Array.from({ length: n }, (_, i) => 'x'.repeat(241) + Math.floor(i / 2)),
      ),
    ],
  ],
]

describe('histories', () => {
  it('[HIS1] late instructions move behind the next user message, or become one', () => {
    const start = [user('a'), answer('b')]
    expect(normalised(...start, system('c'), user('d'), user('e')).messages).toEqual([
      ...start,
      user('d'),
      system('c'),
      user('e'),
    ])
    expect(normalised(...start, system('c'), system('d'), answer('e'), user('f')).messages).toEqual([
      ...start,
      user('c'),
      user('d'),
      answer('e'),
      user('f'),
    ])
    expect(normalised(...start, system('c')).messages).toEqual([...start, user('c')])
    const called = [user('a'), answer('', ['x'])]
    expect(normalised(...called, system('c'), result('x'), user('d')).messages).toEqual([
      ...called,
      result('x'),
      user('d'),
      system('c'),
    ])
    expect(paths(...start, system('c'), user('d'))).toEqual(['messages[2]'])
    const early = [system('s'), user('a'), system('t'), user('b')]
    expect(normalised(...early)).toMatchObject({ messages: early, warnings: [] })
  })

  it('[HIS2] an empty turn is left out, and empty thinking is not empty', () => {
    expect(normalised(user('a'), answer(''), user('b')).messages).toEqual([user('a'), user('b')])
    expect(normalised(user('a'), answer([text('')]), user('b')).messages).toEqual([user('a'), user('b')])
    expect(normalised(answer('')).messages).toEqual([user('')])
    const kept = [user('a'), answer([thinking('')]), answer(' '), user('b')]
    expect(normalised(...kept)).toMatchObject({ messages: kept, warnings: [] })
  })

  it('[HIS3] each call has one result, behind its turn and in the order of the calls', () => {
    const calls = answer('', ['x', 'y'])
    const wanted = [user('a'), calls, result('x'), result('y'), user('b')]
    expect(normalised(user('a'), calls, result('y'), result('x'), user('b')).messages).toEqual(wanted)
    expect(normalised(user('a'), calls, result('y'), user('b'), result('x')).messages).toEqual(wanted)
    expect(normalised(user('a'), result('x'), calls, result('y'), user('b')).messages).toEqual(wanted)
    expect(normalised(user('a'), calls, result('y'), user('b')).messages).toEqual([
      user('a'),
      calls,
      none('x'),
      result('y'),
      user('b'),
    ])
    expect(normalised(user('a'), calls).messages).toEqual([user('a'), calls, none('x'), none('y')])
  })

  it('[HIS3] repeated results are joined, or left out when they are equal', () => {
    const start = [user('a'), answer('', ['x'])]
    expect(normalised(...start, result('x'), result('x')).messages).toEqual([...start, result('x')])
    expect(normalised(...start, result('x', '1'), user('b'), result('x', '2')).messages).toEqual([
      ...start,
      result('x', '1\n\n2'),
      user('b'),
    ])
    const again = [...start, result('x', '1'), answer('', ['x']), result('x', '2')]
    expect(normalised(...again)).toMatchObject({ messages: again, warnings: [] })
  })

  it('[HIS3] equal ids of one turn become different, and results follow in order', () => {
    const called = [user('a'), answer('', ['x', 'x#2', 'x', ''])]
    const results = [result('x', '1'), result('x', '3'), result('', '4'), result('x#2', '2')]
    expect(normalised(...called, ...results).messages).toEqual([
      user('a'),
      answer('', ['x', 'x#2', 'x#3', '']),
      result('x', '1'),
      result('x#2', '2'),
      result('x#3', '3'),
      result('', '4'),
    ])
    const long = 'i'.repeat(256)
    const [, turn] = normalised(user('a'), answer('', [long, long])).messages
    expect(turn).toMatchObject({ toolCalls: [{ id: long }, { id: `${long.slice(0, 240)}#2` }] })
    // Results without ids belong to the calls in their order.
    expect(normalised(user('a'), answer('', ['x', 'y']), result('', '1'), result('', '2')).messages).toEqual([
      user('a'),
      answer('', ['x', 'y']),
      result('x', '1'),
      result('y', '2'),
    ])
  })

  it('[HIS4] a result without a call becomes a user message that says so', () => {
    const { messages, warnings } = normalised(user('a'), answer('', ['x']), result('y', 'lost'), result('x'))
    const lost: Message = { role: 'user', content: [text(orphanText), text('lost')] }
    expect(messages).toEqual([user('a'), answer('', ['x']), result('x'), lost])
    expect(warnings).toEqual([expect.stringMatching(/^messages\[2\]: .*without a call/)])
  })

  it('[HIS5] an answer between calls and their results is a part of their turn', () => {
    expect(
      normalised(user('a'), answer('b', ['x']), answer([thinking('c'), text('d')], ['y']), result('y'), result('x'))
        .messages,
    ).toEqual([user('a'), answer([text('b'), thinking('c'), text('d')], ['x', 'y']), result('x'), result('y')])
    // Without a result the call was interrupted, and the answer is another turn.
    expect(normalised(user('a'), answer('', ['x']), answer('b'), user('c')).messages).toEqual([
      user('a'),
      answer('', ['x']),
      none('x'),
      answer('b'),
      user('c'),
    ])
  })

  it('[HIS6] a history ends with something to answer, and a user message precedes the first calls', () => {
    expect(normalised(user('a'), answer('b')).messages).toEqual([user('a'), answer('b'), user('')])
    expect(normalised(system('s')).messages).toEqual([system('s'), user('')])
    const called = [answer('', ['x']), result('x'), user('b')]
    expect(normalised(...called).messages).toEqual([user(''), ...called])
    const greeting = [answer('Hi!'), user('a')]
    expect(normalised(...greeting)).toMatchObject({ messages: greeting, warnings: [] })
    expect(normalised(system('s'), answer('b', [], true)).messages).toEqual([
      system('s'),
      user(''),
      answer('b', [], true),
    ])
  })

  it('[HIS7] only the last message is continued, and only without calls', () => {
    const start = [user('a'), answer('b', [], true)]
    expect(normalised(...start)).toMatchObject({ messages: start, warnings: [] })
    expect(normalised(...start, user('c')).messages).toEqual([user('a'), answer('b'), user('c')])
    expect(normalised(user('a'), answer('', ['x'], true)).messages).toEqual([user('a'), answer('', ['x']), none('x')])
    expect(normalised(user('a'), answer('', [], true)).messages).toEqual([user('a')])
  })

  it('[HIS8] a normalised history stays the same', () => {
    for (const [name, messages] of allCases) {
      const once = normaliseHistory(chatOf(messages).messages)
      const twice = normaliseHistory(once.messages)
      expect([name, twice.messages]).toEqual([name, once.messages])
      expect([name, twice.warnings]).toEqual([name, []])
    }
  })

  it('[HIS8] no text, call or result of a client is lost, except empty and equal ones', () => {
    for (const [name, messages] of allCases) {
      const { messages: given } = chatOf(messages)
      const texts = (list: readonly Message[]) =>
        list.flatMap(({ content }) => content.flatMap((part) => ('text' in part ? [part.text] : [])))
      const after = texts(normaliseHistory(given).messages).join('\n')
      for (const each of texts(given)) if (!after.includes(each)) expect([name, after]).toEqual([name, each])
      const calls = (list: readonly Message[]) =>
        list.flatMap((message) => (message.role === 'assistant' ? message.toolCalls : [])).length
      expect([name, calls(normaliseHistory(given).messages)]).toEqual([name, calls(given)])
    }
  })

  it('[HIS9] each kind of change is one warning with the first paths', () => {
    const empties = Array.from({ length: 5 }, () => [user('a'), answer('')]).flat()
    const { warnings } = normalised(...empties, result('x'))
    expect(warnings).toHaveLength(2)
    expect(warnings[0]).toMatch(/^messages\[1\], messages\[3\], messages\[5\] and 2 more: an assistant message without/)
  })

  it('[HIS9] every dialect names the paths of its own body, once', () => {
    const late = {
      chat: {
        messages: [
          { role: 'user', content: 'a' },
          { role: 'assistant', content: 'b' },
          { role: 'system', content: 'c' },
        ],
      },
      mistral: {
        messages: [
          { role: 'user', content: 'a' },
          { role: 'assistant', content: 'b' },
          { role: 'system', content: 'c' },
        ],
      },
      messages: {
        max_tokens: 9,
        messages: [
          { role: 'user', content: 'a' },
          { role: 'assistant', content: 'b' },
          { role: 'system', content: 'c' },
        ],
      },
      responses: {
        input: [
          { role: 'user', content: 'a' },
          { role: 'assistant', content: 'b' },
          { role: 'developer', content: 'c' },
        ],
      },
    }
    const named = {
      chat: 'messages[2]',
      mistral: 'messages[2].content',
      messages: 'messages[2]',
      responses: 'input[2]',
    }
    for (const dialect of [chatCompletions, mistralDialect, anthropic, responses]) {
      const read = dialect.read(
        { model: 'tramontane-tiny', ...late[dialect.name as keyof typeof late] },
        noPreviousTurns,
      )
      if (!read.ok) throw new Error(read.message)
      const { warnings, chat } = prepare(read.parsed, 100, ['tramontane-tiny'])
      expect(warnings).toEqual([expect.stringMatching(/: instructions directly after an answer/)])
      expect(warnings[0]?.startsWith(`${named[dialect.name as keyof typeof named]}: `)).toBe(true)
      expect(chat.messages.at(-1)).toMatchObject({ role: 'user', content: [{ text: 'c' }] })
    }
  })

  it.each(longHistories)('[HIS10] %s take linear time', (_, make) => {
    // The best of several tries, because other processes take time too.
    const time = (count: number) => {
      const messages = make(count)
      const tries = Array.from({ length: 4 }, () => {
        const before = performance.now()
        mergeTurns(normaliseHistory(messages).messages)
        return performance.now() - before
      })
      return Math.min(...tries)
    }
    const [small, large] = [time(2_000), time(64_000)]
    // 32 times the length: quadratic work would take 1,024 times as long.
    expect(large).toBeLessThan(Math.max(small * 200, 1_200))
  })

  it('[HIS11] the body of an HTTP engine and the prompt of the embedded engine have the same messages', () => {
    for (const [name, messages] of allCases.slice(0, 300)) {
      const chat = chatOf(messages)
      const ours = renderPrompt(chat, 'none')
      for (const engine of [vllm, sglang, mistral]) {
        const terms = { requestId: 'r', effort: 'none', outputTokensMax: 1, priority: 5, cacheSalt: '' } as const
        const attached = {
          version: '1',
          model: 'm',
          contextTokens: 9,
          slotsMax: 1,
          capabilities: capabilities({ ...engine.capabilities, prefix: true }),
          faults: [],
        }
        const request = engine.request(chat, terms, attached)
        if (!request.ok) throw new Error(request.message)
        const sent = JSON.parse(request.call.body)
        const last = sent.messages.at(-1)
        // What was sent is a sound history: it reads back to the same prompt.
        const back = chatOf(
          sent.messages.map((each: object) =>
            each === last && sent.continue_final_message ? { ...each, prefix: true } : each,
          ),
        )
        expect([name, engine.name, normaliseHistory(back.messages).warnings]).toEqual([name, engine.name, []])
        if (engine === vllm) expect([name, renderPrompt(back, 'none')]).toEqual([name, ours])
      }
    }
  })
})
