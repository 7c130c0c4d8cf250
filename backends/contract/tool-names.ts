/**
 * Mistral's tokenizer and API accept only tool names of 1 to 64 letters, digits, underscores and dashes. A client's
 * name may be longer, and a history may name tools of any other API. Such a name is replaced by its end and its hash,
 * so a conversation's prompt is the same in every turn. Names that collide within one request get different hashes.
 */
import type { Chat, ToolChoice } from '../model/chat.ts'
import { hashed } from './call-ids.ts'

const namePattern = /^[a-zA-Z0-9_-]{1,64}$/
const hashLength = 9
const tailLength = 64 - hashLength - 1

/** The chat with the engine's names, and the way back: from each changed name to the client's. */
export function withEngineNames(chat: Chat): { chat: Chat; clientNames: ReadonlyMap<string, string> } {
  const all = new Set(namesOf(chat))
  const odd = [...all].filter((name) => !namePattern.test(name))
  if (odd.length === 0) return { chat, clientNames: noClientNames }
  const taken = new Set(all)
  const engineNames = new Map(
    odd.map((name) => {
      const engineName = freeName(name, taken)
      taken.add(engineName)
      return [name, engineName]
    }),
  )
  const clientNames = new Map([...engineNames].map(([client, engine]) => [engine, client]))
  return { chat: renamed(chat, (name) => engineNames.get(name) ?? name), clientNames }
}

/** For a request whose names are all sent as they are. */
export const noClientNames: ReadonlyMap<string, string> = new Map()

function namesOf({ tools, messages }: Chat): string[] {
  const calls = messages.flatMap((message) => (message.role === 'assistant' ? message.toolCalls : []))
  return [...tools, ...calls].map(({ name }) => name)
}

/** The end of a name says more than its start, which often names a server. */
function freeName(name: string, taken: ReadonlySet<string>): string {
  const tail = name.slice(-tailLength).replace(/[^a-zA-Z0-9_-]/g, '_')
  for (let salt = 0; ; salt++) {
    const engineName = `${tail}_${hashed(name, salt)}`
    if (!taken.has(engineName)) return engineName
  }
}

function renamed(chat: Chat, engineName: (name: string) => string): Chat {
  const rename = <Named extends { name: string }>(named: Named): Named => ({ ...named, name: engineName(named.name) })
  const choice = (each: ToolChoice): ToolChoice => (each.kind === 'named' ? rename(each) : each)
  return {
    ...chat,
    tools: chat.tools.map(rename),
    toolChoice: choice(chat.toolChoice),
    messages: chat.messages.map((message) =>
      message.role === 'assistant' ? { ...message, toolCalls: message.toolCalls.map(rename) } : message,
    ),
  }
}
