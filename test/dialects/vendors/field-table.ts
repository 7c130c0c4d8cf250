/** What a dialect does with the fields of a vendor's request, by the object that has them. */
import type { FieldVerdict } from './probe-field.ts'

/** Names of fields by what happens to them. A field with two verdicts differs by its place or by its value. */
type Verdicts = Partial<Record<FieldVerdict, string>>

export interface FieldTable {
  /** Objects that are removed as a whole, with a warning that names their type. */
  removed: string[]
  /** By object: the end of its path. */
  objects: Record<string, Verdicts>
}

/** Fields within a field that is ignored or warned about are left out: they share its fate. */
export function fieldTable(verdicts: ReadonlyMap<string, FieldVerdict>): FieldTable {
  const objects = new Map<string, Map<FieldVerdict, Set<string>>>()
  for (const [path, verdict] of verdicts) {
    const segments = segmentsOf(path)
    if (segments.slice(1).some((_, end) => isDropped(verdicts, segments.slice(0, end + 1)))) continue
    const object = objectOf(segments)
    const fields = objects.get(object) ?? new Map<FieldVerdict, Set<string>>()
    fields.set(verdict, (fields.get(verdict) ?? new Set()).add(segments.at(-1) ?? ''))
    objects.set(object, fields)
  }
  const isRemoved = (object: string) =>
    object.includes('<') && [...(objects.get(object)?.keys() ?? [])].join() === 'warned'
  const names = [...objects.keys()].sort()
  return {
    removed: names.filter(isRemoved),
    objects: Object.fromEntries(
      names.filter((name) => !isRemoved(name)).map((name) => [name, wordsOf(objects.get(name) ?? new Map())]),
    ),
  }
}

export const segmentsOf = (path: string): string[] => path.match(/[^.<]+(<[^>]*>)?/g) ?? []

function isDropped(verdicts: ReadonlyMap<string, FieldVerdict>, segments: readonly string[]): boolean {
  const verdict = verdicts.get(segments.join('.').replace(/(\[\])*(<[^>]*>)?$/, ''))
  return verdict === 'warned' || verdict === 'silent'
}

/** An object without a type is named with the one around it. */
function objectOf(segments: readonly string[]): string {
  const last = segments.at(-2) ?? ''
  const around = segments.at(-3)
  return around === undefined || last.includes('<') ? last : `${around}.${last}`
}

function wordsOf(fields: ReadonlyMap<FieldVerdict, ReadonlySet<string>>): Verdicts {
  return Object.fromEntries([...fields].map(([verdict, names]) => [verdict, [...names].sort().join(' ')]))
}
