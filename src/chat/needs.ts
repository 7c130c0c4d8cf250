/**
 * Compares a request with the engines that serve its model. A capability that every engine lacks is refused before
 * anything is reserved. An effort that no engine serves becomes the nearest one that some engine serves. Pure.
 */
import type { Chat } from '../../backends/model/chat.ts'
import { type EffortWord, effortWords } from '../../backends/model/effort.ts'
import type { Model } from '../../backends/model/model.ts'
import type { EngineCapabilities } from '../fleet/engine-capabilities.ts'

export interface Need {
  /** The field of Chat Completions that causes it. */
  field: string
  /** What an engine must support. */
  what: string
  /** What the client can do instead. */
  advice: string
  metBy: (engine: EngineCapabilities) => boolean
}

/** Everything but images and effort that this chat needs of an engine. */
export function needsOf(chat: Chat): Need[] {
  const { format, stop, toolChoice, tools } = chat
  const forced = toolChoice.kind === 'required' || toolChoice.kind === 'named'
  const last = chat.messages.at(-1)
  const needs: (Need | false)[] = [
    tools.length > 0 && toolChoice.kind !== 'none' && need('tools', 'tools', 'Remove them.', (engine) => engine.tools),
    forced && need('tool_choice', 'a required tool', 'Use "auto".', (engine) => engine.forcedTool),
    format.kind === 'json_schema' &&
      need('response_format', 'JSON schemas', 'Use another type.', (engine) => engine.jsonSchema),
    format.kind === 'json_object' &&
      need('response_format', 'json_object', 'Use another type.', (engine) => engine.jsonObject),
    stop.length > 0 &&
      need('stop', `${stop.length} stop strings`, 'Send fewer.', (engine) => stop.length <= engine.stopsMax),
    last?.role === 'assistant' &&
      last.prefix &&
      need('messages', 'continuing an assistant message', 'End with another message.', (engine) => engine.prefix),
  ]
  return needs.filter((each) => each !== false)
}

function need(field: string, what: string, advice: string, metBy: Need['metBy']): Need {
  return { field, what, advice, metBy }
}

export type EngineFit =
  /** `effort`: the level to serve. `vision`: some engine supports images together with the rest. */
  { kind: 'fits'; effort: EffortWord; vision: boolean } | { kind: 'lacks'; need: Need; together: boolean }

/** What a request needs. */
interface Wanted {
  needs: readonly Need[]
  images: boolean
  effort: EffortWord
  model: Model
}

/** @param engines the distinct capabilities of the model's engines, at least one */
export function fitEngines(
  engines: readonly EngineCapabilities[],
  { needs, images, effort, model }: Wanted,
): EngineFit {
  let able = engines
  for (const need of needs) {
    const left = able.filter(need.metBy)
    if (left.length === 0) return { kind: 'lacks', need, together: engines.some(need.metBy) }
    able = left
  }
  const seeing = able.filter(({ vision }) => vision)
  const vision = seeing.length > 0
  const serving = images && vision ? seeing : able
  const levels = model.efforts.filter((level) => serving.some(({ efforts }) => efforts.includes(level)))
  return { kind: 'fits', effort: nearest(effort, levels), vision }
}

/** Of two equally near levels, the lower one: it costs less. Without any level the effort stays. */
function nearest(effort: EffortWord, levels: readonly EffortWord[]): EffortWord {
  const distance = (level: EffortWord) => Math.abs(effortWords.indexOf(level) - effortWords.indexOf(effort))
  const [first = effort, ...others] = levels
  return others.reduce((best, level) => (distance(level) < distance(best) ? level : best), first)
}
