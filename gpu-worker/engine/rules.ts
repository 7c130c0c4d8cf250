/** Translates a request's sampling parameters and formats into the engine child's terms: numbers and grammars. */
import { noClientNames } from '../../backends/contract/tool-names.ts'
import type { Chat, Tool } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { endsInThinking } from '../../backends/model/history.ts'
import { temperatureDefault } from '../../backends/model/model.ts'
import { computable } from '../../backends/model/sampling.ts'
import type { EngineRefusal } from './engine.ts'
import { callsJob, formatJob, type GrammarJob, type Grammars } from './grammar.ts'
import type { Grammar, Rules, Sampling } from './messages.ts'
import type { Vocabulary } from './vocabulary.ts'

/** @param seedFallback replaces an absent seed; a number from 0 to 1 */
export function samplingOf(chat: Chat, effort: EffortWord, seedFallback: number): Sampling {
  const { temperature, topP, frequencyPenalty, presencePenalty } = computable(chat)
  return {
    temperature: temperature ?? (effort === 'high' ? temperatureDefault.high : temperatureDefault.none),
    topP: topP ?? 1,
    seed: (chat.seed ?? Math.floor(seedFallback * 2 ** 32)) >>> 0,
    frequencyPenalty: frequencyPenalty ?? 0,
    presencePenalty: presencePenalty ?? 0,
  }
}

/**
 * The schemas to compile for this request; null if the answer may be any text.
 * @param clientNames the client's name of each tool that has another name in the prompt
 */
export function grammarJob(
  chat: Chat,
  { control }: Vocabulary,
  clientNames: ReadonlyMap<string, string> = noClientNames,
): GrammarJob | EngineRefusal | null {
  const calls = callable(chat)
  const options = { argsId: control['[ARGS]'], single: !chat.parallelToolCalls }
  // A forced call constrains the whole answer, so it overrides a response format.
  if (isForced(chat)) {
    const single = options.single || chat.toolChoice.kind === 'named'
    return { content: null, call: callsJob(calls, { ...options, single }, clientNames) }
  }
  const content = formatJob(chat.format)
  if (content && 'ok' in content) return content
  const call = calls.length > 0 ? callsJob(calls, options, clientNames) : null
  return content || call ? { content, call } : null
}

export function rulesOf(
  chat: Chat,
  effort: EffortWord,
  vocabulary: Vocabulary,
  { content, call }: Pick<Grammars, 'content' | 'call'>,
): Rules {
  const { control } = vocabulary
  const calls = callable(chat)
  const allowed = new Set<number>([control['</s>'], control['[THINK]'], control['[/THINK]']])
  if (calls.length > 0) for (const name of ['[TOOL_CALLS]', '[ARGS]'] as const) allowed.add(control[name])
  return {
    endIds: [control['</s>']],
    bannedIds: vocabulary.controlIds.filter((id) => !allowed.has(id)),
    thinkId: control['[THINK]'],
    thinkEndId: control['[/THINK]'],
    callId: calls.length > 0 ? control['[TOOL_CALLS]'] : null,
    argsId: control['[ARGS]'],
    mayThink: effort === 'high',
    inThinking: endsInThinking(chat.messages),
    content: isForced(chat) ? oneToken(control['[TOOL_CALLS]']) : content,
    again: isForced(chat) ? oneToken(control['[TOOL_CALLS]'], '?') : null,
    call,
  }
}

/** @param times `?` also allows the end */
function oneToken(id: number, times: '' | '?' = ''): Grammar {
  return { text: `root ::= <[${id}]>${times}`, ends: false, stacks: 1 }
}

/** The tools that this answer may call. */
export function callable({ tools, toolChoice }: Chat): readonly Tool[] {
  if (toolChoice.kind === 'none') return []
  return toolChoice.kind === 'named' ? tools.filter(({ name }) => name === toolChoice.name) : tools
}

/** Whether the answer must be a tool call. */
function isForced({ toolChoice }: Chat): boolean {
  return toolChoice.kind === 'required' || toolChoice.kind === 'named'
}
