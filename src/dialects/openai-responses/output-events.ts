/** The events of one output item, as values without sequence numbers. `index` is the item's place in the output. */
import { type CallItem, isSummary, outputText, type TextItem } from './output-items.ts'

export interface OutputEvent {
  type: string
  fields: object
}

export function itemEvent(what: 'added' | 'done', item: object, index: number): OutputEvent {
  return { type: `response.output_item.${what}`, fields: { output_index: index, item } }
}

export function partEvent(what: 'added' | 'done', item: TextItem, index: number, text: string): OutputEvent {
  const at = { item_id: item.id, output_index: index }
  if (isSummary(item)) {
    const part = { type: 'summary_text', text }
    return { type: `response.reasoning_summary_part.${what}`, fields: { ...at, summary_index: 0, part } }
  }
  const part = item.type === 'message' ? outputText(text) : { type: 'reasoning_text', text }
  return { type: `response.content_part.${what}`, fields: { ...at, content_index: 0, part } }
}

/** Built for every token, so each form names its fields: a copy of common fields takes longer. */
export function textDelta(item: TextItem, index: number, delta: string): OutputEvent {
  const { id: item_id } = item
  if (item.type === 'message')
    return {
      type: 'response.output_text.delta',
      fields: { item_id, output_index: index, content_index: 0, delta, logprobs: [] },
    }
  if (isSummary(item))
    return {
      type: 'response.reasoning_summary_text.delta',
      fields: { item_id, output_index: index, summary_index: 0, delta },
    }
  return { type: 'response.reasoning_text.delta', fields: { item_id, output_index: index, content_index: 0, delta } }
}

export function textDone(item: TextItem, index: number, text: string): OutputEvent {
  const at = { item_id: item.id, output_index: index }
  if (item.type === 'message')
    return { type: 'response.output_text.done', fields: { ...at, content_index: 0, text, logprobs: [] } }
  if (isSummary(item))
    return { type: 'response.reasoning_summary_text.done', fields: { ...at, summary_index: 0, text } }
  return { type: 'response.reasoning_text.done', fields: { ...at, content_index: 0, text } }
}

/** All events of a call, which arrives whole: added empty, filled by one delta, done. */
export function callEvents(item: CallItem, index: number): OutputEvent[] {
  const at = { item_id: item.id, output_index: index }
  const status = 'in_progress'
  if (item.type === 'function_call') {
    const { name, arguments: json } = item
    return [
      itemEvent('added', { ...item, status, arguments: '' }, index),
      { type: 'response.function_call_arguments.delta', fields: { ...at, delta: json } },
      { type: 'response.function_call_arguments.done', fields: { ...at, name, arguments: json } },
      itemEvent('done', item, index),
    ]
  }
  const { input } = item
  return [
    itemEvent('added', { ...item, status, input: '' }, index),
    { type: 'response.custom_tool_call_input.delta', fields: { ...at, delta: input } },
    { type: 'response.custom_tool_call_input.done', fields: { ...at, input } },
    itemEvent('done', item, index),
  ]
}
