/**
 * Reads the body of OpenAI's Responses, including fields that coding agents send: server-side tools, items with
 * client-made ids, encoded thinking. Unsupported fields that can be ignored are named in `warnings`; fields that need a
 * missing feature are refused.
 */

import { z } from 'zod'
import {
  allowedTools,
  asText,
  type Chat,
  messagesMax,
  type ResponseFormat,
  refuse,
  type Tool,
  type ToolChoice,
} from '../../../backends/model/chat.ts'
import { readFields } from '../../../backends/model/field-fault.ts'
import { repairRequest } from '../../../backends/model/repair-text.ts'
import { unusedFields } from '../../../backends/model/unused-fields.ts'
import type { ParsedRequest, PreviousTurns, Read, Reference } from '../dialect.ts'
import { Body, Id, type WireFormat, type WireTool } from './body.ts'
import { conversationOf, InputItem } from './items.ts'
import { responsesWriter } from './write.ts'

/** Reads only the ids; `readResponses` validates the body. */
export function referenceOf(body: unknown): Reference | undefined {
  const parsed = References.safeParse(body)
  if (!parsed.success) return undefined
  const { previous_response_id: previous, input } = parsed.data
  const itemIds = (Array.isArray(input) ? input : []).flatMap((item) =>
    item && (item.type == null || item.type === 'item_reference') && item.role == null && item.id ? [item.id] : [],
  )
  return previous == null && itemIds.length === 0 ? undefined : { previousId: previous ?? undefined, itemIds }
}

const References = z.object({
  previous_response_id: Id.nullish(),
  input: z
    .array(
      z
        .object({ type: z.string().nullish(), role: z.unknown(), id: z.string().max(256).nullish() })
        .partial()
        .nullable()
        .catch(null),
    )
    .optional()
    .catch(undefined),
})

/** Never throws. */
export function readResponses(body: unknown, previous: PreviousTurns): Read {
  const parsed = readFields(Body, body)
  if (!parsed.ok) return refuse(parsed.fault)
  const wire = parsed.data
  if (!previous.turns) return noPrevious(wire.previous_response_id ?? '')
  const resolved = itemsOf(wire, previous)
  if (!resolved.ok) return resolved
  const { messages, fieldPaths, leftOut } = conversationOf(resolved.items)
  if (wire.instructions) {
    messages.unshift({ role: 'system', content: asText(wire.instructions) })
    fieldPaths.unshift('instructions')
  }
  if (messages.length > messagesMax)
    return refused('input', `the conversation has more than ${messagesMax} messages. Start a new conversation.`)
  if (messages.length === 0) return refused('input', 'is empty. Send a text or at least one item.')
  const functions = (wire.tools ?? []).flatMap(toolOf)
  const chosen = choiceOf(wire.tool_choice, functions)
  if (!chosen)
    return refused('tool_choice', 'names no supported tool of `tools`. Name a listed function or custom tool.')
  const chat: Chat = {
    model: wire.model,
    messages,
    tools: chosen.tools,
    toolChoice: chosen.choice,
    parallelToolCalls: wire.parallel_tool_calls ?? true,
    format: formatOf(wire.text?.format),
    effort: wire.reasoning?.effort ?? undefined,
    temperature: wire.temperature ?? undefined,
    topP: wire.top_p ?? undefined,
    seed: undefined,
    frequencyPenalty: wire.frequency_penalty ?? undefined,
    presencePenalty: wire.presence_penalty ?? undefined,
    stop: [],
    outputTokensMax: wire.max_output_tokens ?? undefined,
    stream: wire.stream ?? false,
    includeUsage: false,
  }
  const input = rawInput(body, previous)
  const request: ParsedRequest = {
    chat,
    warnings: [...warningsOf(wire, functions.length, leftOut), ...unusedFields(Body, body)],
    fieldPaths,
    writer: (context) => responsesWriter(wire, input, context),
  }
  return { ok: true, parsed: repairRequest(request) }
}

/** The stored items and the new items, each with its path in the body. */
function itemsOf(
  wire: Body,
  previous: PreviousTurns,
): { ok: true; items: { item: InputItem; place: string }[] } | (Read & { ok: false }) {
  const place = 'previous_response_id'
  // Stored items were valid when the client sent them, or the gateway wrote them.
  const before = (previous.turns ?? []).flatMap(({ input, output }) => [...input, ...output])
  const items = before.flatMap((raw) => InputItem.safeParse(raw).data ?? []).map((item) => ({ item, place }))
  if (typeof wire.input === 'string')
    items.push({ item: { kind: 'message', role: 'user', content: asText(wire.input) }, place: 'input' })
  for (const [index, item] of (Array.isArray(wire.input) ? wire.input : []).entries()) {
    if (item.kind !== 'reference') {
      items.push({ item, place: `input[${index}]` })
      continue
    }
    const stored = InputItem.safeParse(previous.items.get(item.id))
    if (!stored.success) {
      const message = `input[${index}].id: item ${item.id} not found. It may have been deleted or expired. Send the item itself.`
      return { ok: false, code: 'not_found', message, param: `input[${index}].id` }
    }
    items.push({ item: stored.data, place: `input[${index}]` })
  }
  return { ok: true, items }
}

/** The input to store: a text becomes an item, and a reference becomes the item that it names. */
function rawInput(body: unknown, previous: PreviousTurns): unknown[] {
  const { input } = z.object({ input: z.union([z.string(), z.array(z.unknown())]).nullish() }).parse(body)
  if (typeof input === 'string')
    return [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: input }] }]
  return (input ?? []).map((raw) => {
    const item = InputItem.safeParse(raw).data
    return item?.kind === 'reference' ? previous.items.get(item.id) : raw
  })
}

/** A tool with free-text input becomes a function with one text parameter. */
function toolOf(tool: z.infer<typeof WireTool>): Tool[] {
  if (!('name' in tool)) return []
  const description = tool.description ?? ''
  if (tool.type === 'function')
    return [
      {
        name: tool.name,
        description,
        parameters: tool.parameters ?? {},
        strict: tool.strict === true,
      },
    ]
  const grammar = tool.format?.definition ? `\n\nIts input must match this grammar:\n${tool.format.definition}` : ''
  const parameters = {
    type: 'object',
    properties: { input: { type: 'string' } },
    required: ['input'],
    additionalProperties: false,
  }
  return [{ name: tool.name, description: description + grammar, parameters, strict: true }]
}

function choiceOf(choice: Body['tool_choice'], tools: Tool[]): { tools: Tool[]; choice: ToolChoice } | undefined {
  if (choice == null || choice === 'auto') return { tools, choice: { kind: 'auto' } }
  if (choice === 'none') return { tools, choice: { kind: 'none' } }
  if (choice === 'required') return tools.length > 0 ? { tools, choice: { kind: 'required' } } : undefined
  if (choice.type !== 'allowed_tools') {
    const { name } = choice
    return tools.some((tool) => tool.name === name) ? { tools, choice: { kind: 'named', name } } : undefined
  }
  return allowedTools(choice.mode, new Set(choice.tools.map(({ name }) => name)), tools)
}

function formatOf(format: z.infer<typeof WireFormat> | null | undefined): ResponseFormat {
  if (format?.type !== 'json_schema') return { kind: format?.type ?? 'text' }
  return { kind: 'json_schema', name: format.name ?? 'answer', schema: format.schema, strict: format.strict === true }
}

function warningsOf(wire: Body, run: number, leftOut: ReadonlySet<string>): string[] {
  const warnings: string[] = []
  if (run < (wire.tools?.length ?? 0))
    warnings.push('tools: types other than "function" and "custom" are not supported and were removed')
  if (leftOut.size > 0) warnings.push(`input: items of these types were removed: ${[...leftOut].join(', ')}`)
  if (wire.truncation === 'auto') warnings.push('truncation: not supported, ignored')
  const other = (wire.include ?? []).filter((value) => value !== 'reasoning.encrypted_content')
  if (other.length > 0) warnings.push(`include: not supported, ignored: ${[...new Set(other)].join(', ')}`)
  return warnings
}

function noPrevious(id: string): Read {
  const message = `previous_response_id: response ${id} or an earlier one was not found. It may have been deleted or expired. Send the complete conversation as input.`
  return { ok: false, code: 'previous_response_not_found', message, param: 'previous_response_id' }
}

function refused(param: string, message: string): Read {
  return { ok: false, code: 'invalid_value', message: `${param}: ${message}`, param }
}
