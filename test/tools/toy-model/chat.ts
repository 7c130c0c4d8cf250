import type { Random, Split } from './random.ts'

/**
 * A chat of the corpus, and its text in Small 4's order:
 *
 *   <s> [SYSTEM_PROMPT] [AVAILABLE_TOOLS] [MODEL_SETTINGS] ( [INST] assistant </s> ( [TOOL_RESULTS]… assistant </s> )? )*
 *
 * Tools and settings occur once, before the first user message; settings are always present. JSON has the spacing of
 * Python's json.dumps, as in the real tokenizer's text.
 */
export type Effort = 'none' | 'high'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

export type Tool = { name: string; description: string; parameters: { readonly [key: string]: Json } }

export type Call = { name: string; arguments: { readonly [key: string]: Json } }

export type Part =
  | { kind: 'user'; text: string }
  /** `think` is written at effort high only; `calls` follow the text. */
  | { kind: 'assistant'; think: string; text: string; calls?: readonly Call[] }
  | { kind: 'tool'; text: string }

/** One topic's part of a chat. `subject` must occur in an answer that cannot be compared word by word. */
export type Exchange = { tools?: readonly Tool[]; parts: readonly Part[]; subject?: string }

export type Topic = (random: Random, split: Split) => Exchange

export type Chat = { system?: string; tools?: readonly Tool[]; effort: Effort; parts: readonly Part[] }

export function exchange(ask: string, think: string, answer: string): Exchange {
  return {
    parts: [
      { kind: 'user', text: ask },
      { kind: 'assistant', think, text: answer },
    ],
  }
}

export function chatText(chat: Chat): string {
  return promptHead(chat) + chat.parts.map((part) => partText(part, chat.effort)).join('')
}

function promptHead({ system, tools, effort }: Chat): string {
  const systemText = system ? `[SYSTEM_PROMPT]${system}[/SYSTEM_PROMPT]` : ''
  const toolsText = tools?.length ? `[AVAILABLE_TOOLS]${spacedJson(tools.map(toolJson))}[/AVAILABLE_TOOLS]` : ''
  return `<s>${systemText}${toolsText}[MODEL_SETTINGS]${spacedJson({ reasoning_effort: effort })}[/MODEL_SETTINGS]`
}

function toolJson({ name, description, parameters }: Tool): Json {
  return { type: 'function', function: { name, description, parameters } }
}

function partText(part: Part, effort: Effort): string {
  if (part.kind === 'user') return `[INST]${part.text}[/INST]`
  if (part.kind === 'tool') return `[TOOL_RESULTS]${part.text}[/TOOL_RESULTS]`
  const think = effort === 'high' ? `[THINK]${part.think}[/THINK]` : ''
  return `${think}${part.text}${(part.calls ?? []).map(callText).join('')}</s>`
}

export function callText(call: Call): string {
  return `[TOOL_CALLS]${call.name}[ARGS]${spacedJson(call.arguments)}`
}

/** JSON with `", "` and `": "` as separators and non-ASCII characters unescaped. */
function spacedJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(spacedJson).join(', ')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const fields = Object.entries(value).map(([key, field]) => `${JSON.stringify(key)}: ${spacedJson(field)}`)
  return `{${fields.join(', ')}}`
}
