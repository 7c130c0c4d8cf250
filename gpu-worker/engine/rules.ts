/**
 * What a request asks of sampling, turned into what the engine child understands: numbers and grammars.
 */
import type { Chat, Tool } from '../../backends/protocol/chat.ts'
import type { EffortWord } from '../../backends/protocol/effort.ts'
import { temperatureDefault } from '../../backends/protocol/model.ts'
import type { EngineRefusal } from './engine.ts'
import { anyArgumentsGrammar, callGrammar, contentGrammar } from './grammar.ts'
import type { Grammar, Rules, Sampling } from './messages.ts'
import type { ControlName, Vocabulary } from './vocabulary.ts'

/** @param seedFallback the seed where the client names none; a number from 0 to 1 */
export function samplingOf(chat: Chat, effort: EffortWord, seedFallback: number): Sampling {
  return {
    temperature: chat.temperature ?? (effort === 'high' ? temperatureDefault.high : temperatureDefault.none),
    topP: chat.topP ?? 1,
    seed: (chat.seed ?? Math.floor(seedFallback * 2 ** 32)) >>> 0,
    frequencyPenalty: chat.frequencyPenalty ?? 0,
    presencePenalty: chat.presencePenalty ?? 0,
  }
}

export type RulesOf = { ok: true; rules: Rules } | EngineRefusal

export function rulesOf(chat: Chat, effort: EffortWord, vocabulary: Vocabulary): RulesOf {
  const { control } = vocabulary
  const content = contentRule(chat, control)
  if (content && 'ok' in content) return content
  const calls = callable(chat)
  const allowed = new Set<number>([control['</s>'], control['[THINK]'], control['[/THINK]']])
  if (calls.length > 0) for (const name of ['[TOOL_CALLS]', '[ARGS]'] as const) allowed.add(control[name])
  const free = calls.length > 0 && !isForced(chat)
  return {
    ok: true,
    rules: {
      endIds: [control['</s>']],
      bannedIds: vocabulary.controlIds.filter((id) => !allowed.has(id)),
      thinkId: control['[THINK]'],
      thinkEndId: control['[/THINK]'],
      callId: calls.length > 0 ? control['[TOOL_CALLS]'] : null,
      mayThink: effort === 'high',
      content,
      call: free ? callGrammar(calls, { argsId: control['[ARGS]'], single: !chat.parallelToolCalls }) : null,
    },
  }
}

/** The tools that may be called in this answer. */
function callable({ tools, toolChoice }: Chat): readonly Tool[] {
  if (toolChoice.kind === 'none') return []
  return toolChoice.kind === 'named' ? tools.filter(({ name }) => name === toolChoice.name) : tools
}

/** Must the answer be a tool call? */
export function isForced({ toolChoice }: Chat): boolean {
  return toolChoice.kind === 'required' || toolChoice.kind === 'named'
}

/** A forced call is a form of the whole answer, and comes before a response format. */
function contentRule(chat: Chat, control: Record<ControlName, number>): Grammar | EngineRefusal | null {
  if (!isForced(chat)) return contentGrammar(chat.format)
  const single = !chat.parallelToolCalls || chat.toolChoice.kind === 'named'
  return callGrammar(callable(chat), { argsId: control['[ARGS]'], callId: control['[TOOL_CALLS]'], single })
}

/** The same rules with arguments that only have to be JSON: for tools whose schemas make no usable grammar. */
export function looseRules(chat: Chat, rules: Rules, vocabulary: Vocabulary): Rules {
  const names = callable(chat)
  const options = { argsId: vocabulary.control['[ARGS]'], single: (rules.call ?? rules.content)?.ends ?? false }
  if (rules.call) return { ...rules, call: anyArgumentsGrammar(names, options) }
  const callId = vocabulary.control['[TOOL_CALLS]']
  return { ...rules, content: anyArgumentsGrammar(names, { ...options, callId }) }
}
