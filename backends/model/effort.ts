/**
 * Reasoning effort: the seven words that clients send, and the levels that a model knows.
 *
 * A model lists its own levels from least to most thinking (`none`, `high` for Mistral Small 4). A word that is not a
 * level is mapped: up to `low` means "as little as there is", from `medium` on "as much as there is". The answer keeps
 * both, because what was asked and what was served must be disclosed.
 */
import { z } from 'zod'

export const effortWords = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
export type EffortWord = (typeof effortWords)[number]
export const EffortWord = z.enum(effortWords)

export interface Effort {
  /** What the client wrote, or undefined where it wrote nothing. */
  asked: EffortWord | undefined
  /** The level that the model is prompted with. */
  effective: EffortWord
}

/**
 * The level that serves `asked`.
 * @param levels the model's levels, least thinking first; never empty
 * @param fallback the level used when the client asked for nothing
 */
export function mapEffort(asked: EffortWord | undefined, levels: readonly EffortWord[], fallback: EffortWord): Effort {
  if (asked === undefined) return { asked, effective: fallback }
  if (levels.includes(asked)) return { asked, effective: asked }
  const least = levels[0] ?? fallback
  const most = levels[levels.length - 1] ?? fallback
  return { asked, effective: effortWords.indexOf(asked) <= effortWords.indexOf('low') ? least : most }
}

/** Whether the level that serves is not the word that was asked. */
export function isMapped(effort: Effort): boolean {
  return effort.asked !== undefined && effort.asked !== effort.effective
}
