/**
 * What `prepare` decides: the pieces of the prompt and the rules of its answer, or why not.
 *
 * Two grammars may be part of the rules, and only the engine child can say whether the library reads them. So there is
 * a draft with grammars to check, and then the rules with the answer.
 */
import type { Chat } from '../../backends/protocol/chat.ts'
import type { EffortWord } from '../../backends/protocol/effort.ts'
import type { EngineRefusal } from './engine.ts'
import type { Rules } from './messages.ts'
import { cutText } from './pieces.ts'
import { isForced, looseRules, rulesOf } from './rules.ts'
import { renderPrompt, type Segment } from './template.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface Draft {
  ok: true
  /** A number is a control token, a string text to be tokenised. */
  pieces: (number | string)[]
  rules: Rules
  /** To be checked: first the content's, then the calls'. */
  grammars: [content: string, call: string]
}

const contentIndex = 0
const noGrammar = 'root ::= ""'

export function draftPrompt(chat: Chat, effort: EffortWord, vocabulary: Vocabulary): Draft | EngineRefusal {
  const rendered = renderPrompt(chat, effort)
  if (!rendered.ok) return rendered
  const ruled = rulesOf(chat, effort, vocabulary)
  if (!ruled.ok) return ruled
  const { rules } = ruled
  return {
    ok: true,
    pieces: rendered.segments.flatMap((segment) => piecesOf(segment, vocabulary)),
    rules,
    grammars: [rules.content?.text ?? noGrammar, rules.call?.text ?? noGrammar],
  }
}

function piecesOf(segment: Segment, { control }: Vocabulary): (number | string)[] {
  return 'control' in segment ? [control[segment.control]] : cutText(segment.text)
}

export type Settled = { ok: true; rules: Rules } | EngineRefusal

/** Without bad grammars the rules stand. Tools get looser ones; a response format that was promised is refused. */
export function settleRules(chat: Chat, rules: Rules, badGrammars: readonly number[], vocabulary: Vocabulary): Settled {
  if (badGrammars.length === 0) return { ok: true, rules }
  if (isForced(chat) || !badGrammars.includes(contentIndex))
    return { ok: true, rules: looseRules(chat, rules, vocabulary) }
  const param = 'response_format.json_schema.schema'
  const message = `${param}: it is too large to be enforced. Use smaller bounds or fewer alternatives`
  return { ok: false, code: 'invalid_value', message, param }
}

export function overflow(promptTokens: number, contextTokens: number): EngineRefusal {
  const message =
    `This model's maximum context length is ${contextTokens} tokens here, and the messages resulted in ` +
    `${promptTokens} tokens. Shorten the messages.`
  return { ok: false, code: 'context_length_exceeded', message, param: 'messages', promptTokens }
}
