/** The response resource: the request's settings, the state, and the usage. Some clients require every field. */
import { usageExtensions } from '../../../backends/model/chunk.ts'
import { temperatureDefault } from '../../../backends/model/model.ts'
import type { AnswerEnd } from '../answer-events.ts'
import type { DialectFailure, EncoderContext } from '../dialect.ts'
import type { Body } from './body.ts'

/** The fields that the end of the answer sets. */
export function endedFields(wire: Body, end: AnswerEnd, kept: boolean, completedAt: number) {
  const cut = end.finishReason === 'length'
  return {
    status: cut ? 'incomplete' : 'completed',
    completed_at: cut ? null : completedAt,
    incomplete_details: cut ? { reason: 'max_output_tokens' } : null,
    reasoning: {
      effort: end.effort.effective,
      summary: wire.reasoning?.summary ?? wire.reasoning?.generate_summary ?? null,
    },
    usage: usageOf(end),
    store: kept,
  }
}

export function failedFields({ code, message }: DialectFailure) {
  return { status: 'failed', error: { code, message } }
}

/** The fields of a response in progress, without its output. */
export function resourceOf(wire: Body, id: string, createdAt: number, { model, effort }: EncoderContext) {
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
    reasoning: {
      effort: effort.effective,
      summary: wire.reasoning?.summary ?? wire.reasoning?.generate_summary ?? null,
    },
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

function usageOf(end: AnswerEnd) {
  return {
    input_tokens: end.promptTokens,
    // Cache writes are free, but the schema requires the field.
    input_tokens_details: { cached_tokens: end.cachedTokens, cache_write_tokens: 0 },
    output_tokens: end.outputTokens,
    output_tokens_details: { reasoning_tokens: end.reasoningTokens },
    total_tokens: end.promptTokens + end.outputTokens,
    ...usageExtensions(end.effort, end.costNano),
  }
}

/** The tools of the response resource. */
function toolNamed(tool: NonNullable<Body['tools']>[number]): object[] {
  if (!('name' in tool)) return []
  const common = { type: tool.type, name: tool.name, description: tool.description ?? null }
  if (tool.type === 'custom') return [{ ...common, format: tool.format ?? { type: 'text' } }]
  return [{ ...common, parameters: tool.parameters ?? null, strict: tool.strict ?? true }]
}
