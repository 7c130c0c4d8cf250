import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { noClientNames } from '../../../backends/contract/tool-names.ts'
import type { Counts } from '../../../backends/model/money.ts'
import { AnswerParser } from '../../../gpu-worker/engine/answer-parser.ts'
import type { EngineEvent } from '../../../gpu-worker/engine/engine.ts'
import type { EndReason } from '../../../gpu-worker/engine/messages.ts'
import { createStopSearch } from '../../../gpu-worker/engine/stop.ts'
import { controlNames, createVocabulary } from '../../../gpu-worker/engine/vocabulary.ts'

/** Control tokens first, then one token per byte, so that any text can be written and characters arrive in parts. */
const alphabet = Array.from({ length: 256 }, (_, byte) => byte)
let others = 0
const byteTokens = alphabet.map((byte) => {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  return String.fromCodePoint(printable ? byte : 256 + others++)
})
const tokens = [...controlNames, ...byteTokens]
const vocabulary = createVocabulary(
  tokens,
  tokens.map((_, id) => (id < controlNames.length ? 3 : 1)),
)
const { control } = vocabulary

function ids(...parts: (string | { control: keyof typeof control })[]): number[] {
  return parts.flatMap((part) =>
    typeof part === 'string'
      ? [...new TextEncoder().encode(part)].map((byte) => controlNames.length + byte)
      : [control[part.control]],
  )
}
const at = (name: keyof typeof control) => ({ control: name })

function play(
  sampled: number[],
  options: {
    stop?: string[]
    reason?: EndReason
    cuts?: number[]
    inThinking?: boolean
    clientNames?: ReadonlyMap<string, string>
  } = {},
) {
  const counts: Counts = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
  const { stop = [], inThinking = false, clientNames = noClientNames } = options
  const answer = new AnswerParser(
    { vocabulary, stop, tools: ['get', 'get_time', 'put'], clientNames, inThinking },
    counts,
  )
  const events: EngineEvent[] = []
  let start = 0
  for (const end of [...(options.cuts ?? sampled.map((_, index) => index + 1)), sampled.length]) {
    events.push(...answer.push(sampled.slice(start, end)))
    start = Math.max(start, end)
  }
  events.push(...answer.end(options.reason ?? 'end'))
  return { events: joined(events), counts, stopped: answer.stopped }
}

function joined(events: EngineEvent[]): EngineEvent[] {
  const result: EngineEvent[] = []
  for (const event of events) {
    const last = result.at(-1)
    if (event.kind === 'text' && last?.kind === 'text' && last.channel === event.channel) last.text += event.text
    else result.push({ ...event })
  }
  return result
}

const content = (text: string): EngineEvent => ({ kind: 'text', channel: 'content', text })
const reasoning = (text: string): EngineEvent => ({ kind: 'text', channel: 'reasoning', text })
const end = (finishReason: 'stop' | 'length' | 'tool_calls' | 'abort'): EngineEvent => ({ kind: 'end', finishReason })
const tool = (name: string, json: string): EngineEvent => ({ kind: 'tool', name, arguments: json })

describe('answer', () => {
  it('[ENG8] control tokens, not their text, separate thinking, content and calls', () => {
    const sampled = ids(at('[THINK]'), 'hm [/THINK]', at('[/THINK]'), 'ok', at('[TOOL_CALLS]'), 'f', at('[ARGS]'))
    const { events } = play([...sampled, ...ids('{"a": "[ARGS]"}', at('</s>'))])
    expect(events).toEqual([reasoning('hm [/THINK]'), content('ok'), tool('f', '{"a": "[ARGS]"}'), end('tool_calls')])
  })

  it('[ENG7] output counts every sampled id, and reasoning the ids from the first thinking token to the last', () => {
    const { counts } = play(ids(at('[THINK]'), 'abc', at('[/THINK]'), 'de', at('</s>')))
    expect(counts).toMatchObject({ outputTokens: 8, reasoningTokens: 5 })
  })

  it('[ENG10] several calls are sent complete and in order; empty arguments become an empty object', () => {
    const sampled = ids(
      at('[TOOL_CALLS]'),
      'f',
      at('[ARGS]'),
      '{"a":1}',
      at('[TOOL_CALLS]'),
      'g',
      at('[ARGS]'),
      at('</s>'),
    )
    expect(play(sampled).events).toEqual([tool('f', '{"a":1}'), tool('g', '{}'), end('tool_calls')])
  })

  it('[ENG10] a call that the length limit cuts off is sent as far as it got, once its name is certain', () => {
    const cut = (...sampled: Parameters<typeof ids>) =>
      play(ids('so', at('[TOOL_CALLS]'), ...sampled), { reason: 'length' })
    expect(cut('f', at('[ARGS]'), '{"a": 1').events).toEqual([content('so'), tool('f', '{"a": 1'), end('length')])
    expect(cut('f', at('[ARGS]')).events).toEqual([content('so'), tool('f', ''), end('length')])
    expect(cut('p').events).toEqual([content('so'), tool('put', ''), end('length')])
    expect(cut('get').events).toEqual([content('so'), end('length')])
    expect(cut('x').events).toEqual([content('so'), end('length')])
  })

  it('[ENG10] an invalid call is sent as content', () => {
    expect(play(ids(at('[TOOL_CALLS]'), 'f', at('[ARGS]'), '{"a"', at('</s>'))).events).toEqual([
      content('f{"a"'),
      end('stop'),
    ])
  })

  it('[ENG9] text before a stop string is sent, the stop string and later text are not', () => {
    const { events, counts, stopped } = play(ids('one STOP two'), { stop: ['STOP'], reason: 'abort' })
    expect(events).toEqual([content('one '), { ...end('stop'), stop: 'STOP' }])
    expect(stopped).toBe(true)
    expect(counts.outputTokens).toBe(12)
  })

  it('[ENG9] after a stop string neither thinking nor a call is sent', () => {
    const after = ids(at('[THINK]'), 'hm', at('[/THINK]'), at('[TOOL_CALLS]'), 'f', at('[ARGS]'), '{}', at('</s>'))
    expect(play([...ids('one STOP'), ...after], { stop: ['STOP'] }).events).toEqual([
      content('one '),
      { ...end('stop'), stop: 'STOP' },
    ])
  })

  it('[ENG9] the first complete stop string wins, for any split of the text', () => {
    for (const cut of [['xabc'], ['xa', 'bc'], ['x', 'a', 'b', 'c']]) {
      const search = createStopSearch(['abc', 'b'])
      expect(cut.map((text) => search.push(text)).join('')).toBe('xa')
      expect(search.found).toBe(true)
    }
  })

  it('[ENG8] a byte order mark is kept as an ordinary character', () => {
    expect(play(ids('\ufeffa')).events).toEqual([content('\ufeffa'), end('stop')])
  })

  it('[ENG9] text that only begins like a stop string is sent at the end', () => {
    expect(play(ids('one STO'), { stop: ['STOP'] }).events).toEqual([content('one STO'), end('stop')])
    expect(play(ids('one STO'), { stop: ['STOP'], reason: 'length' }).events).toEqual([
      content('one STO'),
      end('length'),
    ])
  })

  it('[ENG9] thinking and arguments may contain a stop string', () => {
    const sampled = ids(
      at('[THINK]'),
      'STOP',
      at('[/THINK]'),
      at('[TOOL_CALLS]'),
      'f',
      at('[ARGS]'),
      '"STOP"',
      at('</s>'),
    )
    expect(play(sampled, { stop: ['STOP'] }).events).toEqual([
      reasoning('STOP'),
      tool('f', '"STOP"'),
      end('tool_calls'),
    ])
  })

  it('[ENG40] a call of a shortened name has the client’s name, also when it is cut off', () => {
    const clientNames = new Map([['get', 'mcp__get']])
    const call = [...ids(at('[TOOL_CALLS]'), 'get', at('[ARGS]'), '{}')]
    expect(play(call, { clientNames }).events).toEqual([tool('mcp__get', '{}'), end('tool_calls')])
    expect(play(call, { clientNames, reason: 'length' }).events).toEqual([tool('mcp__get', '{}'), end('length')])
  })

  it('[ENG39] an answer to a prompt that ends within thinking begins as reasoning, and its stop strings wait for content', () => {
    const sampled = ids('so STOP', at('[/THINK]'), 'four STOP')
    const { events, counts } = play(sampled, { inThinking: true, stop: ['STOP'] })
    expect(events).toEqual([reasoning('so STOP'), content('four '), { ...end('stop'), stop: 'STOP' }])
    expect(counts).toMatchObject({ outputTokens: sampled.length, reasoningTokens: 'so STOP'.length + 1 })
    expect(play(ids('so'), { inThinking: true, reason: 'length' }).events).toEqual([reasoning('so'), end('length')])
  })

  it('[ENG8] a partial character is never sent', () => {
    const sampled = ids('é😀')
    const counts: Counts = { promptTokens: 0, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
    const answer = new AnswerParser(
      { vocabulary, stop: [], tools: [], clientNames: noClientNames, inThinking: false },
      counts,
    )
    const texts = sampled.map((token) => answer.push([token]).map((event) => (event.kind === 'text' ? event.text : '')))
    expect(texts).toEqual([[], ['é'], [], [], [], ['😀']])
    expect(play(sampled.slice(0, -1), { reason: 'length' }).events).toEqual([content('é'), end('length')])
  })

  it('[ENG8] any split of the tokens into steps gives the same events', () => {
    const part = fc.oneof(
      fc.constantFrom(...controlNames).map((name) => ids(at(name))),
      fc.constantFrom('a', 'b', 'ab', 'abc', 'é', '😀', '{"a": 1}', 'STOP', '\ufeff').map((text) => ids(text)),
      fc.nat(255).map((byte) => [controlNames.length + byte]),
    )
    const cuts = fc.array(fc.nat(60), { maxLength: 8 }).map((list) => list.sort((a, b) => a - b))
    const stop = fc.subarray(['b', 'abc', 'STOP', '😀'])
    const reason = fc.constantFrom<EndReason>('end', 'length', 'closed', 'abort')
    fc.assert(
      fc.property(fc.array(part, { maxLength: 25 }), cuts, stop, reason, (parts, at, stops, why) => {
        const sampled = parts.flat()
        const bounded = at.filter((cut) => cut <= sampled.length)
        const whole = play(sampled, { stop: stops, reason: why, cuts: [] })
        expect(play(sampled, { stop: stops, reason: why, cuts: bounded })).toEqual(whole)
        expect(play(sampled, { stop: stops, reason: why })).toEqual(whole)
        expect(whole.counts.outputTokens).toBe(sampled.length)
        for (const each of stops)
          for (const event of whole.events)
            if (event.kind === 'text' && event.channel === 'content' && whole.stopped)
              expect(event.text).not.toContain(each)
      }),
      { numRuns: 500 },
    )
  })
})
