/** Whole prompts of the embedded engine against mistral-common's: every token, control tokens included. */
import { budgets } from '../../../backends/model/budgets.ts'
import { type Chat, readChat } from '../../../backends/model/chat.ts'
import { draftPrompt } from '../../../gpu-worker/engine/prompt.ts'
import { createTekken } from '../../../gpu-worker/engine/tekken/encoder.ts'
import type { TokenSteps } from '../../../gpu-worker/engine/tokenise.ts'
import { createVocabulary, type Vocabulary } from '../../../gpu-worker/engine/vocabulary.ts'
import type { Reference, Section, SectionResult } from './section.ts'
import { others, sentences } from './sentences.ts'
import { tekkenData } from './tekken-data.ts'
import { encode, wholeVocabulary } from './tokenizer.ts'

type Body = Record<string, unknown>

export const prompts: Section = { name: 'prompts', run }

async function run(reference: Reference): Promise<SectionResult> {
  const data = tekkenData(wholeVocabulary(reference))
  const vocabulary = createVocabulary(data.tokens, data.types)
  const tokensOf = createTekken(data)
  const bodies = chats()
  const { chats: expected } = (await reference.python('reference.py', { chats: bodies })) as { chats: number[][] }
  const faults: string[] = []
  let tokens = 0
  for (const [index, body] of bodies.entries()) {
    const read = readChat({ model: 'm', ...body })
    if (!read.ok) throw new Error(read.message)
    const ours = promptIds(read.chat, vocabulary, tokensOf)
    const theirs = expected[index] ?? []
    tokens += theirs.length
    const at = ours.findIndex((id, place) => id !== theirs[place])
    if (at >= 0 || ours.length !== theirs.length)
      faults.push(
        `chat ${index}: ${ours.length} tokens, the reference has ${theirs.length}; first difference at ${at}: ${JSON.stringify(body).slice(0, 160)}`,
      )
  }
  return { lines: [`${bodies.length} whole prompts, ${tokens} tokens: ${faults.length} differ`], faults }
}

/** The ids of the embedded engine's prompt. */
export function promptIds(chat: Chat, vocabulary: Vocabulary, tokensOf: TokenSteps): number[] {
  const draft = draftPrompt(chat, chat.effort ?? 'none', vocabulary, budgets.wordCharacters.value)
  if (!draft.ok) throw new Error(draft.message)
  return [...draft.pieces].flatMap((piece) => (typeof piece === 'number' ? [piece] : encode(tokensOf, piece)))
}

const user = (content: string) => ({ role: 'user', content })

/** A chat, a chat with a history and one with tools for each language; and each text of no one language. */
function chats(): Body[] {
  const written = sentences.flatMap(([name, first = '', second = '']): Body[] => [
    { messages: [user(first)] },
    {
      messages: [
        { role: 'system', content: second },
        user(first),
        { role: 'assistant', content: second },
        user(`${second}\n\n${first}`),
      ],
      reasoning_effort: 'high',
    },
    {
      messages: [
        user(second),
        { role: 'assistant', content: '', tool_calls: [call({ text: first, count: 12 })] },
        { role: 'tool', tool_call_id: 'abcdefghi', content: second },
      ],
      tools: [tool(`${name}: ${first}`, second)],
    },
  ])
  return [
    ...written,
    ...others.filter((text) => text.trim() !== '' && !text.includes('\0')).map((text) => ({ messages: [user(text)] })),
  ]
}

function call(values: object) {
  return { id: 'abcdefghi', type: 'function', function: { name: 'look_up', arguments: JSON.stringify(values) } }
}

function tool(description: string, about: string) {
  const parameters = {
    type: 'object',
    properties: { text: { type: 'string', description: about } },
    required: ['text'],
  }
  return { type: 'function', function: { name: 'look_up', description, parameters } }
}
