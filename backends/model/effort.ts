/**
 * Reasoning effort: the seven words that clients send, and the levels that a model supports.
 *
 * A model lists its levels from least to most reasoning (`none`, `high` for Mistral Small 4). Other words are mapped:
 * up to `low` to the lowest level, from `medium` to the highest. The answer reports both the requested and the served
 * effort.
 */
import { z } from 'zod'

export const effortWords = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
export type EffortWord = (typeof effortWords)[number]
export const EffortWord = z.enum(effortWords)

export interface Effort {
  /** The word that the client sent; undefined if it sent none. */
  asked: EffortWord | undefined
  /** The level that the model is prompted with. */
  effective: EffortWord
}

/**
 * Maps the requested effort to a level of the model.
 * @param levels the model's levels, least reasoning first; never empty
 * @param fallback the level used when the client sends no effort
 */
export function mapEffort(asked: EffortWord | undefined, levels: readonly EffortWord[], fallback: EffortWord): Effort {
  if (asked === undefined) return { asked, effective: fallback }
  if (levels.includes(asked)) return { asked, effective: asked }
  const min = levels[0] ?? fallback
  const max = levels[levels.length - 1] ?? fallback
  return { asked, effective: effortWords.indexOf(asked) <= effortWords.indexOf('low') ? min : max }
}

/** Whether the served level differs from the requested word. */
export function isMapped(effort: Effort): boolean {
  return effort.asked !== undefined && effort.asked !== effort.effective
}
