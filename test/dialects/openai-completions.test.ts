import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { chunkWriter, completion } from '../../backends/model/chunk.ts'
import { readStream, readWhole } from '../../src/dialects/answer-events.ts'
import { noPreviousTurns } from '../../src/dialects/dialect.ts'
import { Completion, CompletionEvent } from '../../src/dialects/openai-completions/answer.ts'
import { Body, completions } from '../../src/dialects/openai-completions/dialect.ts'

const effort = { asked: undefined, effective: 'none' } as const
const rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }
const counts = { promptTokens: 7, cachedTokens: 0, outputTokens: 2, reasoningTokens: 1 }
const read = (body: object) => completions.read({ model: 'm', prompt: 'Hello', ...body }, noPreviousTurns)

function parsed(body: object) {
  const answer = read(body)
  if (!answer.ok) throw new Error(answer.message)
  return answer.parsed
}

function writer(body: object) {
  const made = parsed(body).writer?.({ requestId: 'req_1', now: () => 5_000, model: 'm', effort, promptTokens: 7 })
  if (!made) throw new Error('there is no writer')
  return made
}

describe('completions', () => {
  it('[CMP1] a prompt is one message of the user, with a warning, without reasoning and with 16 tokens by default', () => {
    const { chat, warnings, fieldPaths } = parsed({})
    expect(chat).toMatchObject({ outputTokensMax: 16, effort: 'none', stream: false, tools: [] })
    expect(chat.messages).toMatchObject([{ role: 'user', content: [{ kind: 'text', text: 'Hello' }] }])
    expect([warnings, fieldPaths]).toEqual([[expect.stringMatching(/^prompt: sent .* one message/)], ['prompt']])
    expect(parsed({ prompt: ['Hi'], max_tokens: 9, stop: 'x', reasoning_effort: 'high' }).chat).toMatchObject({
      ...{ outputTokensMax: 9, effort: 'high', stop: ['x'] },
      messages: [{ content: [{ text: 'Hi' }] }],
    })
    expect(parsed({ logit_bias: { 5: 1 }, colour: 'red' }).warnings.slice(1)).toEqual([
      expect.stringMatching(/^logit_bias: /),
      expect.stringMatching(/^colour: /),
    ])
  })

  it('[CMP2] what a completion cannot have is refused by its name', () => {
    const refused: [object, string][] = [
      [{ prompt: [1, 2, 3] }, 'prompt'],
      [{ prompt: ['a', 'b'] }, 'prompt'],
      [{ prompt: undefined }, 'prompt'],
      [{ echo: true }, 'echo'],
      [{ logprobs: 1 }, 'logprobs'],
      [{ suffix: 'end' }, 'suffix'],
      [{ best_of: 2 }, 'best_of'],
      [{ n: 2 }, 'n'],
      [{ max_tokens: -1 }, 'max_tokens'],
    ]
    for (const [body, param] of refused)
      expect(read(body), param).toMatchObject({ ok: false, param: expect.stringMatching(`^${param}`) })
    expect(read({ echo: false, logprobs: null, suffix: '', best_of: 1 }).ok).toBe(true)
  })

  it('[CMP3] every field that OpenAI’s library documents is known', () => {
    const path = fileURLToPath(import.meta.resolve('openai/resources/completions')).replace(/\.m?js$/, '.d.ts')
    const [, fields = ''] =
      /interface CompletionCreateParamsBase \{\n([\s\S]*?)\n\}/.exec(readFileSync(path, 'utf8')) ?? []
    const names = [...fields.matchAll(/^ {4}(\w+)\??:/gm)].map(([, name]) => name)
    expect(names.length).toBeGreaterThan(15)
    expect(names.filter((name) => !Object.hasOwn(Body.shape, name ?? ''))).toEqual([])
  })

  it('[CMP4] an answer is text in choices, streamed or whole, with usage and cost', () => {
    const head = { id: 'c', created: 5, model: 'm', effort, rates }
    const chunks = chunkWriter(head, false)
    const stream = [
      chunks.role(),
      chunks.text('reasoning', 'so'),
      chunks.text('content', 'yes'),
      chunks.end('stop', counts),
    ]
    for (const includeUsage of [false, true]) {
      const written = writer({ stream: true, stream_options: { include_usage: includeUsage } })
      let text = written.open(7)
      for (const event of readStream().push(new TextEncoder().encode(stream.join('')))) {
        if (event.kind === 'end') text += written.close(event, false)
        else if (event.kind === 'text') text += written.part(event)
      }
      const events = [...text.matchAll(/^data: (\{.*)$/gm)].map(([, json]) =>
        CompletionEvent.parse(JSON.parse(json ?? '')),
      )
      expect(events).toMatchObject([
        { id: 'cmpl-1', choices: [{ text: '', reasoning_content: 'so', finish_reason: null }] },
        { choices: [{ text: 'yes' }] },
        { choices: [{ text: '', finish_reason: 'stop' }] },
        ...(includeUsage ? [{ choices: [], usage: { completion_tokens: 2 } }] : []),
      ])
      expect(events.at(-1)).toMatchObject({ usage: { prompt_tokens: 7, cost_nano: 2_250 } })
      expect(text).toMatch(/data: \[DONE\]\n\n$/)
    }
    const answer = { content: 'yes', reasoning: '', calls: [], finishReason: 'length' as const, counts }
    const whole = writer({})
    let ended: unknown
    for (const event of readWhole(completion(head, answer)))
      if (event.kind === 'end') ended = whole.whole(event, false)
      else whole.part(event)
    expect(Completion.parse(ended)).toMatchObject({
      choices: [{ text: 'yes', finish_reason: 'length' }],
      usage: { total_tokens: 9, cost: 0.00000225 },
    })
  })
})
