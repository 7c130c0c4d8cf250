/** Every agent's task, and the scripted model's side of it: one command in the agent's shell, then a final message. */
import type { Chat, Tool } from '../../../backends/model/chat.ts'
import { mapEffort } from '../../../backends/model/effort.ts'
import type { Script } from '../../support/scripted-worker.ts'

export const fileName = 'greeting.txt'
export const fileText = 'hello from tramontane'
export const prompt = `Write "${fileText}" into ${fileName} with a shell command, then say that it is done.`
export const lastWords = 'It is done: the greeting is written.'

const command = `printf '%s' '${fileText}' > ${fileName}`
const shellNames =
  /^(bash|shell|exec_command|shell_command|local_shell|run_shell_command|run_commands|execute_command|run_terminal_command|terminal)$/i

export function follow(chat: Chat): Script {
  const shell = chat.tools.find(({ name }) => shellNames.test(name))
  // Agents also request titles and summaries, without tools.
  if (!shell) return { text: 'A greeting' }
  const ran = chat.messages.some(({ role }) => role === 'tool')
  if (!ran) return { reasoning: 'A command writes it.', calls: [{ name: shell.name, arguments: argumentsOf(shell) }] }
  const completion = chat.tools.find(({ name }) => /attempt_completion|^submit/i.test(name))
  const submitted = chat.messages.some(
    (message) => message.role === 'assistant' && message.toolCalls.some(({ name }) => name === completion?.name),
  )
  if (completion && !submitted) return { calls: [{ name: completion.name, arguments: filled(completion, lastWords) }] }
  return { reasoning: 'The file is there.', text: lastWords }
}

/** For server test suites: calls the first offered tool once, otherwise answers with text; reasons on request. */
export function obey(chat: Chat): Script {
  const thinks = chat.effort !== undefined && mapEffort(chat.effort, ['none', 'high'], 'none').effective === 'high'
  const [tool] = chat.tools
  const ran = chat.messages.some(({ role }) => role === 'tool')
  if (tool && !ran && chat.toolChoice.kind !== 'none')
    return {
      reasoning: thinks ? 'A tool knows.' : '',
      calls: [{ name: tool.name, arguments: filled(tool, 'San Francisco, CA') }],
    }
  return { reasoning: thinks ? 'That is easy.' : '', text: 'One, two, three, four, five.' }
}

interface Schema {
  type?: string | string[]
  enum?: unknown[]
  items?: Schema
  anyOf?: Schema[]
  properties?: Record<string, Schema>
  required?: string[]
}

function argumentsOf(tool: Tool): object {
  return filled(tool, command)
}

/** Fills every required field by its type, with `text` where the command or the final message belongs. */
function filled({ parameters }: Tool, text: string): object {
  const { properties = {}, required = [] } = parameters as Schema
  const main = Object.keys(properties).find((name) => /^(command|cmd|commands|result|script|location|city)$/.test(name))
  const names = [...new Set([...(main ? [main] : []), ...required])]
  return Object.fromEntries(names.map((name) => [name, fieldValue(properties[name] ?? {}, name === main ? text : '')]))
}

function fieldValue(schema: Schema, text: string): unknown {
  if (schema.enum) return schema.enum[0]
  const type = Array.isArray(schema.type) ? schema.type[0] : (schema.type ?? schema.anyOf?.[0]?.type)
  switch (type) {
    case 'boolean':
      return false
    case 'number':
    case 'integer':
      return 10
    case 'array':
      // A list of commands, or the words of one command.
      return schema.items?.type === 'string' && text !== '' ? [text] : []
    case 'object':
      return {}
    default:
      return text || 'writes a greeting'
  }
}
