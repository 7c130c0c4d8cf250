/** The items of an answer's output. A text item is added empty and gets its text when it is done; a call is whole. */
import { parsePartial } from '../../../backends/model/partial-json.ts'
import { sealThinking } from '../carried-thinking.ts'

export type OutputStatus = 'in_progress' | 'completed' | 'incomplete'

interface ReasoningItem {
  type: 'reasoning'
  id: string
  status: OutputStatus
  summary: { type: 'summary_text'; text: string }[]
  /** Absent where the client requested a summary, which then has the text. */
  content?: { type: 'reasoning_text'; text: string }[]
  encrypted_content?: string
}

interface MessageItem {
  type: 'message'
  id: string
  status: OutputStatus
  role: 'assistant'
  content: ReturnType<typeof outputText>[]
}

interface FunctionCallItem {
  type: 'function_call'
  id: string
  status: OutputStatus
  call_id: string
  name: string
  arguments: string
}

interface CustomCallItem {
  type: 'custom_tool_call'
  id: string
  status: OutputStatus
  call_id: string
  name: string
  input: string
}

export type TextItem = ReasoningItem | MessageItem
export type CallItem = FunctionCallItem | CustomCallItem
export type OutputItem = TextItem | CallItem

export const outputText = (text: string) => ({
  type: 'output_text' as const,
  text,
  annotations: [] as never[],
  logprobs: [] as never[],
})

export function emptyMessage(id: string): MessageItem {
  return { type: 'message', id, status: 'in_progress', role: 'assistant', content: [] }
}

export function emptyReasoning(id: string, summarised: boolean): ReasoningItem {
  return { type: 'reasoning', id, status: 'in_progress', summary: [], ...(!summarised && { content: [] }) }
}

export function isSummary(item: TextItem): boolean {
  return item.type === 'reasoning' && item.content === undefined
}

/** @param sealed whether reasoning also has its text as encrypted content */
export function filledItem(item: TextItem, text: string, status: OutputStatus, sealed: boolean): TextItem {
  if (item.type === 'message') return { ...item, status, content: [outputText(text)] }
  const filled: ReasoningItem = isSummary(item)
    ? { ...item, status, summary: [{ type: 'summary_text', text }] }
    : { ...item, status, content: [{ type: 'reasoning_text', text }] }
  return sealed ? { ...filled, encrypted_content: sealThinking(text) } : filled
}

export function functionCall(id: string, callId: string, name: string, json: string): FunctionCallItem {
  return { type: 'function_call', id, status: statusOf(json), call_id: callId, name, arguments: json }
}

export function customCall(id: string, callId: string, name: string, json: string): CustomCallItem {
  return { type: 'custom_tool_call', id, status: statusOf(json), call_id: callId, name, input: inputOf(json) }
}

/** The text of a free-text tool's arguments. Arguments of another form are passed on unchanged. */
function inputOf(json: string): string {
  const { input } = Object(parsePartial(json)) as { input?: unknown }
  return typeof input === 'string' ? input : json
}

/** Arguments that the limit of tokens cut off are no JSON. */
function statusOf(json: string): OutputStatus {
  try {
    JSON.parse(json)
    return 'completed'
  } catch {
    return 'incomplete'
  }
}
