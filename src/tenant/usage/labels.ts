/** The labels of a request: its end user and its tags, by which usage is reported and requests are listed. */
import { budgets } from '../../../backends/model/budgets.ts'

export interface UsageLabels {
  /** The tenant's own name for its user; null if the request names none. */
  endUser: string | null
  /** Distinct, in the order of the request. */
  tags: readonly string[]
}

export const noUsageLabels: UsageLabels = { endUser: null, tags: [] }

export const labelKinds = ['user', 'tag'] as const
export type LabelKind = (typeof labelKinds)[number]

/** Usage of the values beyond the bound of a day. */
export const otherLabel = 'other'

/** Each label of a request, by kind. */
export function eachLabel({ endUser, tags }: UsageLabels): [LabelKind, string][] {
  const user: [LabelKind, string][] = endUser === null ? [] : [['user', endUser]]
  return [...user, ...tags.map((tag): [LabelKind, string] => ['tag', tag])]
}

/** The name under which a value counts in a day in which `known` have counted, so that a day has a bounded number. */
export function countedLabel(value: string, known: ReadonlySet<string>): string {
  return known.has(value) || known.size < budgets.usageLabelsPerDay.value ? value : otherLabel
}
