/**
 * Writes an answer as OpenAI's Responses: items that are added, filled and done, each event with its sequence number.
 *
 * Thinking is a separate item, with its text or, if the client requests a summary, with the same text as the summary. A
 * client that sends hidden thinking back, with `store: false`, also requests it as encrypted content.
 */
import { temperatureDefault } from '../../../backends/model/model.ts'
import type { AnswerEnd, AnswerPart } from '../answer-events.ts'
import { sealThinking } from '../carried-thinking.ts'
import type { DialectFailure, DialectWriter, EncoderContext, StoredResponse } from '../dialect.ts'
import type { Body } from './body.ts'

type Status = 'in_progress' | 'completed' | 'incomplete'
interface ReasoningItem {
  type: 'reasoning'
  id: string
  status: Status
  summary: { type: 'summary_text'; text: string }[]
  content?: { type: 'reasoning_text'; text: string }[]
  encrypted_content?: string
}
interface MessageItem {
  type: 'message'
  id: string
  status: Status
  role: 'assistant'
  content: { type: 'output_text'; text: string; annotations: never[]; logprobs: never[] }[]
}
interface CallItem {
  type: 'function_call'
  id: string
  status: Status
  call_id: string
  name: string
  arguments: string
}
interface CustomCallItem {
  type: 'custom_tool_call'
  id: string
  status: Status
  call_id: string
  name: string
  input: string
}
type OutputItem = ReasoningItem | MessageItem | CallItem | CustomCallItem

function responseId(requestId: string): string {
  return requestId.replace(/^req_/, 'resp_')
}

export function responsesWriter(wire: Body, input: unknown[], context: EncoderContext): DialectWriter {
  const output: OutputItem[] = []
  const id = responseId(context.requestId)
  const nowS = () => Math.floor(context.now() / 1_000)
  const createdAt = nowS()
  let completedAt: number | undefined
  const summarised = wire.reasoning?.summary != null && wire.reasoning.summary !== 'none'
  const sealed = wire.include?.includes('reasoning.encrypted_content') ?? false
  const custom = new Set(
    (wire.tools ?? []).flatMap((tool) => ('name' in tool && tool.type === 'custom' ? [tool.name] : [])),
  )
  let sequence = 0
  let opened = false
  /** The open item, which is the last. */
  let filling: { item: ReasoningItem | MessageItem; text: string } | undefined
  /** The events that close the last item; they are written with the end. */
  let tail: string | undefined

  function event(type: string, fields: object): string {
    return `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...fields })}\n\n`
  }

  const newId = (prefix: string) => `${prefix}_${id.slice(5)}${output.length.toString(16).padStart(4, '0')}`
  const index = () => output.length - 1

  function text({ channel, text }: Extract<AnswerPart, { kind: 'text' }>): string {
    const type = channel === 'reasoning' ? 'reasoning' : 'message'
    let out = ''
    if (filling?.item.type !== type) out = finish('completed') + begin(type)
    if (!filling) return out
    filling.text += text
    return out + delta(filling.item, text)
  }

  function begin(type: 'reasoning' | 'message'): string {
    const status = 'in_progress'
    const item: ReasoningItem | MessageItem =
      type === 'message'
        ? { type, id: newId('msg'), status, role: 'assistant', content: [] }
        : { type, id: newId('rs'), status, summary: [], ...(!summarised && { content: [] }) }
    output.push(item)
    filling = { item, text: '' }
    const added = event('response.output_item.added', { output_index: index(), item })
    return added + partEvent(item, 'added', '')
  }

  function partEvent(item: ReasoningItem | MessageItem, what: 'added' | 'done', text: string): string {
    const at = { item_id: item.id, output_index: index() }
    if (item.type === 'reasoning' && summarised)
      return event(`response.reasoning_summary_part.${what}`, {
        ...at,
        summary_index: 0,
        part: { type: 'summary_text', text },
      })
    const part = item.type === 'message' ? outputText(text) : { type: 'reasoning_text', text }
    return event(`response.content_part.${what}`, { ...at, content_index: 0, part })
  }

  function delta(item: ReasoningItem | MessageItem, text: string): string {
    const at = { item_id: item.id, output_index: index() }
    if (item.type === 'message')
      return event('response.output_text.delta', { ...at, content_index: 0, delta: text, logprobs: [] })
    return summarised
      ? event('response.reasoning_summary_text.delta', { ...at, summary_index: 0, delta: text })
      : event('response.reasoning_text.delta', { ...at, content_index: 0, delta: text })
  }

  /** Closes the open item. */
  function finish(status: Status): string {
    if (!filling) return ''
    const { item, text } = filling
    filling = undefined
    item.status = status
    const at = { item_id: item.id, output_index: index() }
    let done: string
    if (item.type === 'message') {
      item.content = [outputText(text)]
      done = event('response.output_text.done', { ...at, content_index: 0, text, logprobs: [] })
    } else if (summarised) {
      item.summary = [{ type: 'summary_text', text }]
      done = event('response.reasoning_summary_text.done', { ...at, summary_index: 0, text })
    } else {
      item.content = [{ type: 'reasoning_text', text }]
      done = event('response.reasoning_text.done', { ...at, content_index: 0, text })
    }
    if (item.type === 'reasoning' && sealed) item.encrypted_content = sealThinking(text)
    const part = partEvent(item, 'done', text)
    return done + part + event('response.output_item.done', { output_index: index(), item })
  }

  function call({ id: callId, name, arguments: json }: Extract<AnswerPart, { kind: 'call' }>): string {
    const ended = finish('completed')
    const base = { status: 'completed' as const, call_id: `call_${callId}`, name }
    const item: CallItem | CustomCallItem = custom.has(name)
      ? { type: 'custom_tool_call', id: newId('ctc'), ...base, input: inputOf(json) }
      : { type: 'function_call', id: newId('fc'), ...base, arguments: json }
    output.push(item)
    const at = { item_id: item.id, output_index: index() }
    const empty = {
      ...item,
      status: 'in_progress',
      ...(item.type === 'function_call' ? { arguments: '' } : { input: '' }),
    }
    const added = event('response.output_item.added', { output_index: index(), item: empty })
    const filled =
      item.type === 'function_call'
        ? event('response.function_call_arguments.delta', { ...at, delta: json }) +
          event('response.function_call_arguments.done', { ...at, name, arguments: json })
        : event('response.custom_tool_call_input.delta', { ...at, delta: item.input }) +
          event('response.custom_tool_call_input.done', { ...at, input: item.input })
    return ended + added + filled + event('response.output_item.done', { output_index: index(), item })
  }

  function resource(state: object) {
    return { ...resourceOf(wire, id, createdAt, context), output, ...state }
  }

  function ended(end: AnswerEnd, kept: boolean) {
    const cut = end.finishReason === 'length'
    completedAt ??= nowS()
    return resource({
      status: cut ? 'incomplete' : 'completed',
      completed_at: cut ? null : completedAt,
      incomplete_details: cut ? { reason: 'max_output_tokens' } : null,
      reasoning: { effort: end.effort.effective, summary: wire.reasoning?.summary ?? null },
      usage: usageOf(end),
      store: kept,
    })
  }

  function finishAll(end: AnswerEnd): string {
    tail ??= finish(end.finishReason === 'length' ? 'incomplete' : 'completed')
    return tail
  }

  function open(): string {
    opened = true
    const response = resource({})
    return event('response.created', { response }) + event('response.in_progress', { response })
  }

  return {
    open,
    part(part) {
      switch (part.kind) {
        case 'beat':
          return ': working on the prompt\n\n'
        case 'text':
          return text(part)
        case 'call':
          return call(part)
      }
    },
    ...(wire.store !== false && {
      toStore(end: AnswerEnd): StoredResponse {
        finishAll(end)
        const previousId = wire.previous_response_id ?? undefined
        return { responseId: id, previousId, input, output, body: ended(end, true) }
      },
    }),
    close(end, kept) {
      const last = finishAll(end)
      const type = end.finishReason === 'length' ? 'response.incomplete' : 'response.completed'
      return last + event(type, { response: ended(end, kept) })
    },
    whole(end, kept) {
      finishAll(end)
      return ended(end, kept)
    },
    fail(failure) {
      const begun = opened ? '' : open()
      return begun + event('response.failed', { response: resource({ status: 'failed', error: errorOf(failure) }) })
    },
  }
}

/** The text of a free-text tool's arguments. Arguments of another form are passed on unchanged. */
function inputOf(json: string): string {
  const { input } = JSON.parse(json) as { input?: unknown }
  return typeof input === 'string' ? input : json
}

const outputText = (text: string) => ({
  type: 'output_text' as const,
  text,
  annotations: [] as never[],
  logprobs: [] as never[],
})

const errorOf = ({ code, message }: DialectFailure) => ({ code, message })

function usageOf(end: AnswerEnd) {
  return {
    input_tokens: end.promptTokens,
    // Cache writes are free, but the schema requires the field.
    input_tokens_details: { cached_tokens: end.cachedTokens, cache_write_tokens: 0 },
    output_tokens: end.outputTokens,
    output_tokens_details: { reasoning_tokens: end.reasoningTokens },
    total_tokens: end.promptTokens + end.outputTokens,
    reasoning_effort: end.effort.effective,
    reasoning_effort_asked: end.effort.asked ?? null,
  }
}

/** The fields of a response without output. Some clients require every field. */
function resourceOf(wire: Body, id: string, createdAt: number, { model, effort }: EncoderContext) {
  const advised = effort.effective === 'high' ? temperatureDefault.high : temperatureDefault.none
  return {
    id,
    object: 'response',
    created_at: createdAt,
    completed_at: null as number | null,
    status: 'in_progress',
    background: false,
    error: null,
    incomplete_details: null,
    instructions: wire.instructions ?? null,
    max_output_tokens: wire.max_output_tokens ?? null,
    max_tool_calls: wire.max_tool_calls ?? null,
    model,
    parallel_tool_calls: wire.parallel_tool_calls ?? true,
    previous_response_id: wire.previous_response_id ?? null,
    prompt_cache_key: wire.prompt_cache_key ?? null,
    reasoning: { effort: effort.effective, summary: wire.reasoning?.summary ?? null },
    safety_identifier: wire.safety_identifier ?? null,
    service_tier: 'default',
    store: wire.store !== false,
    temperature: wire.temperature ?? advised,
    text: { format: wire.text?.format ?? { type: 'text' }, verbosity: wire.text?.verbosity ?? 'medium' },
    tool_choice: wire.tool_choice ?? 'auto',
    tools: (wire.tools ?? []).flatMap(toolNamed),
    top_logprobs: 0,
    top_p: wire.top_p ?? 1,
    truncation: 'disabled',
    presence_penalty: wire.presence_penalty ?? 0,
    frequency_penalty: wire.frequency_penalty ?? 0,
    usage: null,
    ...(wire.user && { user: wire.user }),
    metadata: wire.metadata ?? {},
  }
}

/** The tools of the response resource. */
function toolNamed(tool: NonNullable<Body['tools']>[number]): object[] {
  if (!('name' in tool)) return []
  const common = { type: tool.type, name: tool.name, description: tool.description ?? null }
  if (tool.type === 'custom') return [{ ...common, format: tool.format ?? { type: 'text' } }]
  return [{ ...common, parameters: tool.parameters ?? null, strict: tool.strict ?? true }]
}
