/**
 * Joins neighbouring messages of one role as mistral-common 1.13.1 does for tokenizer version 15: a blank line separates
 * the texts of two messages, and nothing the parts of one message. Linear in the history.
 */
import type { Message, Part, TurnPart } from './chat.ts'

/** Joins neighbouring user messages and neighbouring assistant messages. System messages and results stay separate. */
export function mergeTurns(messages: readonly Message[]): Message[] {
  const result: Message[] = []
  for (let at = 0; at < messages.length; ) {
    const first = messages[at] as Message
    let end = at + 1
    if (first.role === 'user' || first.role === 'assistant')
      while (end < messages.length && messages[end]?.role === first.role) end++
    result.push(end === at + 1 ? first : merged(messages.slice(at, end)))
    at = end
  }
  return result
}

function merged(messages: readonly Message[]): Message {
  const turns = messages.filter((message) => message.role === 'assistant')
  if (turns.length === 0)
    return { role: 'user', content: mergeParts(messages.map(({ content }) => content as readonly Part[])) }
  return {
    role: 'assistant',
    content: mergeParts(turns.map(({ content }) => content)),
    toolCalls: turns.flatMap(({ toolCalls }) => toolCalls),
    prefix: turns.at(-1)?.prefix ?? false,
  }
}

/** The contents of several messages as one. Empty texts are left out, and neighbouring texts become one part. */
export function mergeParts<Each extends Part | TurnPart>(contents: readonly (readonly Each[])[]): Each[] {
  const result: Each[] = []
  let texts: string[] = []
  const flush = () => {
    if (texts.length > 0) result.push({ kind: 'text', text: texts.join('') } as Each)
    texts = []
  }
  for (const content of contents) {
    let separator = texts.length > 0
    for (const part of content) {
      if (part.kind !== 'text') {
        flush()
        separator = false
        result.push(part)
      } else if (part.text !== '') {
        texts.push(separator ? `\n\n${part.text}` : part.text)
        separator = false
      }
    }
  }
  flush()
  return result
}
