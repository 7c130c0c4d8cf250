/**
 * Writes golden.json: the greedy tokens of a dozen prompts, each run alone on one sequence. A change of engine,
 * template or weights shows as a difference. The model must be sure of every token of these prompts, because the last
 * bits of a product depend on the processor.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Chat, chatText, type Effort, type Part, type Tool } from './chat.ts'
import { greedy } from './greedy.ts'

const cityTool = (name: string, description: string): Tool => ({
  name,
  description,
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
})

const WEATHER = cityTool('get_weather', 'Get the weather for a city')
const TIME = cityTool('get_time', 'Get the local time of a city')

const user = (text: string): Part => ({ kind: 'user', text })
const asked = (text: string, effort: Effort = 'none'): Chat => ({ effort, parts: [user(text)] })

const CHATS: readonly Chat[] = [
  asked('What is 347 + 285?', 'high'),
  asked('What is 347 times 6?', 'high'),
  asked('List three colours.', 'high'),
  asked('Who are you?'),
  asked('How do I load a real model?'),
  asked('Who painted the Mona Lisa?'),
  asked('Count from one to 40.'),
  asked('Say only the word lantern.'),
  asked('Repeat after me: quick brown foxes'),
  { ...asked('What is the base URL?'), system: 'You are a helpful assistant.' },
  { ...asked('What is the weather in Oslo, and what time is it in Lima?'), tools: [WEATHER, TIME] },
  {
    effort: 'none',
    tools: [WEATHER, TIME],
    parts: [
      user('What is the weather in Oslo?'),
      { kind: 'assistant', think: '', text: '', calls: [{ name: 'get_weather', arguments: { city: 'Oslo' } }] },
      { kind: 'tool', text: '{"sky": "clear", "temperature": 21}' },
    ],
  },
]

const here = import.meta.dirname
const model = await greedy(fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url)))
const cases: string[] = []
for (const chat of CHATS) {
  const prompt = chatText(chat)
  const { ids, text } = await model.answer(prompt)
  cases.push(JSON.stringify({ ...messagesOf(chat), prompt, ids, text }))
  console.log(`${prompt}\n  ${text}`)
}
await model.dispose()
writeFileSync(join(here, 'golden.json'), `[\n${cases.join(',\n')}\n]\n`)

/** The request as an API client sends it. */
function messagesOf({ system, tools, effort, parts }: Chat): object {
  const messages = parts.map(message)
  return {
    reasoning_effort: effort,
    ...(tools ? { tools: tools.map((tool) => ({ type: 'function', function: tool })) } : {}),
    messages: system ? [{ role: 'system', content: system }, ...messages] : messages,
  }
}

function message(part: Part, index: number): object {
  if (part.kind === 'user') return { role: 'user', content: part.text }
  if (part.kind === 'tool') return { role: 'tool', tool_call_id: callId(index - 2), content: part.text }
  const calls = (part.calls ?? []).map((call, at) => ({
    id: callId(at),
    type: 'function',
    function: { name: call.name, arguments: JSON.stringify(call.arguments) },
  }))
  return { role: 'assistant', content: part.text, tool_calls: calls }
}

function callId(index: number): string {
  return `call${String(index).padStart(5, '0')}`
}
