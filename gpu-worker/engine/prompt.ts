/** The first part of `prepare`: turns a request into the pieces of its prompt, or a refusal. */

import { budgets } from '../../backends/model/budgets.ts'
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { EngineRefusal } from './engine.ts'
import { cutText } from './pieces.ts'
import { depthMax, isTooDeep, jsonBytes } from './schema/compile-budget.ts'
import { renderPrompt, type Segment } from './template.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface Draft {
  ok: true
  /** A number is a control token, a string is text to tokenise. Can be read once; text is split while it is read. */
  pieces: Iterable<number | string>
}

/** @param wordMax longer words are split */
export function draftPrompt(
  chat: Chat,
  effort: EffortWord,
  vocabulary: Vocabulary,
  wordMax: number,
): Draft | EngineRefusal {
  const tools = refusedTools(chat)
  if (tools) return tools
  const rendered = renderPrompt(chat, effort)
  if (!rendered.ok) return rendered
  return { ok: true, pieces: piecesOf(rendered.segments, vocabulary, wordMax) }
}

function* piecesOf(segments: readonly Segment[], { control }: Vocabulary, wordMax: number): Generator<number | string> {
  for (const segment of segments) {
    if ('control' in segment) yield control[segment.control]
    else yield* cutText(segment.text, wordMax)
  }
}

/** The refusal if the tools are too large or too deep for a prompt. */
function refusedTools({ tools }: Chat): EngineRefusal | undefined {
  let left = budgets.toolBytes.value
  for (const [index, { parameters }] of tools.entries()) {
    const bytes = jsonBytes(parameters, left)
    const param = `tools[${index}].function.parameters`
    if (bytes !== undefined) left -= bytes
    else if (isTooDeep(parameters, left))
      return invalid(param, `it is nested more than ${depthMax} deep. Use a flatter schema`)
    else
      return invalid(
        'tools',
        `all schemas together have more than ${budgets.toolBytes.value} bytes. Send fewer or smaller tools`,
      )
  }
  return undefined
}

function invalid(param: string, reason: string): EngineRefusal {
  return { ok: false, code: 'invalid_value', message: `${param}: ${reason}.`, param }
}

/** The refusal for an exception during preparation: the request always causes it. */
export function cannotBePrepared(error: unknown): EngineRefusal {
  const message = `messages: this request cannot be rendered (${errorName(error)}). Use shorter and flatter values.`
  return { ok: false, code: 'invalid_value', message, param: null }
}

export function errorName(error: unknown): string {
  return error instanceof Error ? error.name : 'error'
}

/** @param complete whether the whole prompt was counted; if not, it has more than `promptTokens` */
export function overflow(promptTokens: number, contextTokens: number, complete = true): EngineRefusal {
  const message =
    `This model's maximum context length is ${contextTokens} tokens here, and the messages resulted in ` +
    `${complete ? '' : 'more than '}${promptTokens} tokens. Shorten the messages.`
  return { ok: false, code: 'context_length_exceeded', message, param: 'messages', ...(complete && { promptTokens }) }
}
