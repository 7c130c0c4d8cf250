/**
 * Model names that clients already have in their settings: models that Mistral Small 4 replaces or absorbs, and its
 * other names. An alias may preset an effort to behave like the model it names: Magistral models always reason. A
 * client's explicit value overrides the preset.
 *
 * The target is always the real model. A gateway that serves only the toy model answers "not found" for an alias.
 *
 * Dates are Mistral's deprecation dates, from the model pages of its public documentation (platform-docs-public,
 * src/schema/models/models); names with `latest` have the date of their family. Some models have another official
 * successor (Medium 3.5, Ministral 3 14B); this gateway maps them to its one model, and the answer names it.
 */
import type { EffortWord } from './effort.ts'
import { findModel, type Model } from './model.ts'

export interface ModelAlias {
  id: string
  target: string
  /** First day of deprecation; null for a current name of the target. */
  deprecatedOn: string | null
  effort?: EffortWord
}

const small4 = 'mistral-small-4'
const current = (...ids: string[]): ModelAlias[] => ids.map((id) => ({ id, target: small4, deprecatedOn: null }))
const deprecated = (deprecatedOn: string, ids: string[], preset: Pick<ModelAlias, 'effort'> = {}): ModelAlias[] =>
  ids.map((id) => ({ id, target: small4, deprecatedOn, ...preset }))

export const modelAliases: readonly ModelAlias[] = [
  ...current('mistral-small-2603', 'mistral-small-latest', 'mistral-small', 'mistralai/Mistral-Small-4-119B-2603'),
  ...deprecated('2026-04-30', ['mistral-small-2506']),
  ...deprecated('2025-11-30', ['mistral-small-2503', 'mistral-small-2501', 'mistral-small-2409', 'mistral-small-2402']),
  ...deprecated('2026-04-30', ['magistral-small-2509', 'magistral-small-latest'], { effort: 'high' }),
  ...deprecated('2025-11-30', ['magistral-small-2507', 'magistral-small-2506'], { effort: 'high' }),
  ...deprecated('2026-05-22', ['magistral-medium-2509', 'magistral-medium-latest'], { effort: 'high' }),
  ...deprecated('2026-05-22', ['devstral-2512', 'devstral-latest', 'devstral-medium-latest']),
  ...deprecated('2026-02-27', ['devstral-small-2507', 'labs-devstral-small-2512', 'devstral-small-latest']),
  ...deprecated('2025-12-02', ['pixtral-12b-2409', 'pixtral-12b-latest', 'pixtral-12b']),
  ...deprecated('2026-02-27', ['pixtral-large-2411', 'pixtral-large-latest']),
]

export type FoundModel =
  | { ok: true; model: Model; alias: ModelAlias | undefined }
  | { ok: false; code: 'model_not_found'; message: string; param: 'model' }

/** @param offered the ids of the models that this gateway offers, never empty */
export function resolveModel(id: string, offered: readonly string[]): FoundModel {
  const alias = modelAliases.find((each) => each.id === id)
  const target = alias?.target ?? id
  const model = offered.includes(target) ? findModel(target) : undefined
  if (model) return { ok: true, model, alias }
  const unknown = alias ? `"${id}" is an alias of ${target}, which` : `model "${id}"`
  const message = `${unknown} is not served here. Use ${suggestions(id, offered).join(' or ')}.`
  return { ok: false, code: 'model_not_found', message, param: 'model' }
}

/** The model's aliases in listings, so that a client can find the name it uses. */
export function aliasesOf(modelId: string): string[] {
  return modelAliases.filter(({ target }) => target === modelId).map(({ id }) => id)
}

/** A name with at most this many edits counts as a typing error. */
const editsMax = 3
const suggestionsMax = 4

/** Similar names first, nearest first, then all offered models. */
function suggestions(id: string, offered: readonly string[]): string[] {
  const names = [...offered, ...offered.flatMap(aliasesOf)]
  const near = names
    .map((name) => ({ name, edits: edits(id.toLowerCase(), name.toLowerCase()) }))
    .filter(({ edits }) => edits <= editsMax)
    .sort((a, b) => a.edits - b.edits)
    .map(({ name }) => name)
  return [...new Set([...near, ...offered])].slice(0, suggestionsMax)
}

/** The Levenshtein distance; `editsMax + 1` if the lengths alone differ by more than `editsMax`. */
function edits(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > editsMax) return editsMax + 1
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
