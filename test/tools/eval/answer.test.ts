import { describe, expect, it } from 'vitest'
import { Chunk, finished, nothingYet, withChunk, writes } from './answer.ts'

const chunk = (delta: object, more: object = {}) => Chunk.parse({ choices: [{ delta, ...more }] })
const all = (...deltas: object[]) =>
  finished(deltas.reduce((answer: typeof nothingYet, delta) => withChunk(answer, chunk(delta)), nothingYet))

describe('a streamed answer', () => {
  it('[EVL24] reasoning is separated from text in every form of the servers', () => {
    const apart = { content: 'Yes.', reasoning: 'Hm. Well.' }
    expect(all({ reasoning_content: 'Hm. ' }, { reasoning_content: 'Well.' }, { content: 'Yes.' })).toMatchObject(apart)
    expect(all({ reasoning: 'Hm. Well.' }, { content: 'Yes.' })).toMatchObject(apart)
    expect(all({ content: '[THINK]Hm. ' }, { content: 'Well.[/THINK]Yes.' })).toMatchObject(apart)
    expect(all({ content: '<think>Hm. Well.</think>Yes.' })).toMatchObject(apart)
    const pieces = [
      { type: 'thinking', thinking: [{ type: 'text', text: 'Hm. Well.' }] },
      { type: 'text', text: 'Yes.' },
    ]
    expect(all({ content: pieces })).toMatchObject(apart)
  })

  it('[EVL25] calls are read whole or in pieces, also several at once', () => {
    const piece = (index: number, name: string | undefined, text: string) => ({
      tool_calls: [{ index, function: { name, arguments: text } }],
    })
    const answer = all(piece(0, 'a', '{"x"'), piece(0, undefined, ':1}'), piece(1, 'b', '{}'))
    expect(answer.calls).toEqual([
      { name: 'a', arguments: '{"x":1}' },
      { name: 'b', arguments: '{}' },
    ])
  })

  it('[EVL26] a count that the server does not send is unknown', () => {
    const counted = withChunk(
      nothingYet,
      Chunk.parse({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 5 } }),
    )
    expect(counted.tokens).toEqual({ prompt: 3, cached: null, output: 5, reasoning: null })
    expect(nothingYet.tokens).toBeNull()
    expect([writes(chunk({ role: 'assistant', content: '' })), writes(chunk({ content: 'a' }))]).toEqual([false, true])
  })
})
