/** What `prepare` makes of a request before anything is counted: the pieces of its prompt, or why there are none. */
import type { Chat } from '../../backends/protocol/chat.ts'
import type { EffortWord } from '../../backends/protocol/effort.ts'
import { depthMax, isTooDeep } from './compile-budget.ts'
import type { EngineRefusal } from './engine.ts'
import { cutText } from './pieces.ts'
import { renderPrompt, type Segment } from './template.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface Draft {
  ok: true
  /** A number is a control token, a string text to be tokenised. */
  pieces: (number | string)[]
}

export function draftPrompt(chat: Chat, effort: EffortWord, vocabulary: Vocabulary): Draft | EngineRefusal {
  const deep = chat.tools.findIndex(({ parameters }) => isTooDeep(parameters))
  if (deep >= 0) return tooDeep(`tools[${deep}].function.parameters`)
  const rendered = renderPrompt(chat, effort)
  if (!rendered.ok) return rendered
  return { ok: true, pieces: rendered.segments.flatMap((segment) => piecesOf(segment, vocabulary)) }
}

function piecesOf(segment: Segment, { control }: Vocabulary): (number | string)[] {
  return 'control' in segment ? [control[segment.control]] : cutText(segment.text)
}

function tooDeep(param: string): EngineRefusal {
  const message = `${param}: it is nested more than ${depthMax} deep. Use a flatter schema.`
  return { ok: false, code: 'invalid_value', message, param }
}

/** For an exception while a request is prepared: it is that request's, whatever it was. */
export function cannotBePrepared(error: unknown): EngineRefusal {
  const name = error instanceof Error ? error.name : 'error'
  const message = `messages: this request cannot be rendered (${name}). Use shorter and flatter values.`
  return { ok: false, code: 'invalid_value', message, param: null }
}

export function overflow(promptTokens: number, contextTokens: number): EngineRefusal {
  const message =
    `This model's maximum context length is ${contextTokens} tokens here, and the messages resulted in ` +
    `${promptTokens} tokens. Shorten the messages.`
  return { ok: false, code: 'context_length_exceeded', message, param: 'messages', promptTokens }
}
