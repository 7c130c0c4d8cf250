import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Chat, readChat } from '../../../backends/model/chat.ts'
import { repairRequest } from '../../../backends/model/repair-text.ts'

const bad = 'a\0b\ud800c'
const good = 'a\ufffdb\ufffdc'

/** One bad text in each place of a request that reaches a prompt. */
function bodyOf(text: string) {
  return {
    model: 'm',
    messages: [
      { role: 'system', content: text },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'x' },
          { type: 'text', text },
        ],
      },
      { role: 'user', content: [{ type: 'file', file: { file_data: `data:text/plain;base64,${btoa('a\0b')}` } }] },
      { role: 'assistant', content: [{ type: 'text', text }] },
      { role: 'assistant', content: 'x', reasoning_content: text },
      { role: 'assistant', tool_calls: [{ id: text, function: { name: 'f', arguments: `{"x": "${text}"}` } }] },
      { role: 'tool', tool_call_id: text, content: text },
      { role: 'user', content: 'sound' },
    ],
    tools: [
      { type: 'function', function: { name: 'e', description: 'sound' } },
      { type: 'function', function: { name: 'f', description: text } },
    ],
  }
}

function read(body: object) {
  const answer = readChat(body)
  if (!answer.ok) throw new Error(answer.message)
  return answer
}

/** All strings of a value, with its keys. */
const textOf = (chat: Chat) => JSON.stringify(chat)

describe('bad text', () => {
  it('[TXT2] in every message and tool it becomes U+FFFD, and a warning names each that was changed', () => {
    const { chat, warnings } = repairRequest(read(bodyOf(bad)))
    expect(chat.messages.map((message) => message.content.map((part) => 'text' in part && part.text))).toEqual([
      ...[[good], ['x', good], ['a\ufffdb'], [good], [good, 'x'], [], [good], ['sound']],
    ])
    expect(chat.messages[5]).toMatchObject({ toolCalls: [{ id: good, arguments: `{"x": "${good}"}` }] })
    expect(chat.messages[6]).toMatchObject({ toolCallId: good })
    expect(chat.tools.map(({ description }) => description)).toEqual(['sound', good])
    const why = 'NUL characters and halves of surrogate pairs were replaced with U+FFFD'
    const named = [0, 1, 2, 3, 4, 5, 6].map((index) => `messages[${index}]: ${why}`)
    expect(warnings).toEqual([...named, `tools[1]: ${why}`])
  })

  it('[TXT2] sound text is not touched, and no text is left bad', () => {
    const before = read(bodyOf('größe 😀'))
    before.chat.messages.splice(2, 1)
    expect(repairRequest(before)).toBe(before)
    const text = fc.string({ unit: fc.constantFrom('a', '\0', '\ud83d', '\ude00', '😀', 'é') })
    fc.assert(
      fc.property(text, (any) => {
        const { chat } = repairRequest(read(bodyOf(any)))
        expect(textOf(chat)).not.toMatch(/\\u0000|\\ud[89a-f]/i)
        // A pair of the client stays a pair.
        expect(textOf(chat).split('😀').length).toBe(textOf(read(bodyOf(any)).chat).split('😀').length)
      }),
    )
  })

  it('[TXT2] a warning has the path of the message in the client’s body', () => {
    const request = { ...read(bodyOf(bad)), fieldPaths: ['instructions', 'input[0]'] }
    expect(
      repairRequest(request)
        .warnings.slice(0, 3)
        .map((warning) => warning.split(':')[0]),
    ).toEqual([...['instructions', 'input[0]', 'messages[2]']])
  })
})
