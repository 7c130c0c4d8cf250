/** The schemas that `$ref` names: by pointer, `$anchor` or `$id`, within the client's schema. */
import { SchemaRefused, shown } from './compile-budget.ts'
import { has } from './keywords.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'

export class References {
  readonly #root: unknown
  readonly #spend: (limit: 'schemaVisits' | 'schemaCompared', path: string) => void
  #anchors: Map<string, unknown> | undefined

  /** @param spend charges one step */
  constructor(root: unknown, spend: (limit: 'schemaVisits' | 'schemaCompared', path: string) => void) {
    this.#root = root
    this.#spend = spend
  }

  /** Throws SchemaRefused at `path` if there is no such schema. */
  target(ref: string, path: string): unknown {
    const anchored = ref !== '#' && !ref.startsWith('#/')
    const found = anchored ? this.#anchored(ref, path) : undefined
    const steps = anchored ? (found?.steps ?? []) : ref.split('/').slice(1)
    let target: unknown = anchored ? found?.schema : this.#root
    for (const step of steps) {
      this.#spend('schemaVisits', path)
      const key = pointerKey(step)
      if (key === undefined) throw new SchemaRefused('$ref', path, `"${shown(ref)}" has a stray "%". Write it as %25`)
      target =
        (isSchema(target) || Array.isArray(target)) && has(target as SchemaObject, key)
          ? (target as SchemaObject)[key]
          : undefined
    }
    if (target === undefined)
      throw new SchemaRefused(
        '$ref',
        path,
        `"${shown(ref)}" points to nothing. Add the definition or correct the reference`,
      )
    return target
  }

  /** The schema that an `$anchor` or `$id` names, and the pointer from there. */
  #anchored(ref: string, path: string): { schema: unknown; steps: string[] } | undefined {
    this.#anchors ??= this.#read(path)
    const [base = '', pointer] = ref.startsWith('#') ? [ref] : ref.split('#', 2)
    const schema = this.#anchors.get(ref) ?? this.#anchors.get(base)
    if (schema === undefined || (pointer && !pointer.startsWith('/') && this.#anchors.get(ref) === undefined))
      throw new SchemaRefused(
        '$ref',
        path,
        `"${shown(ref)}" points outside the schema. Use a reference that begins with "#/"`,
      )
    return { schema, steps: pointer?.startsWith('/') ? pointer.split('/').slice(1) : [] }
  }

  #read(path: string): Map<string, unknown> {
    const anchors = new Map<string, unknown>()
    const waiting: unknown[] = [this.#root]
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      this.#spend('schemaCompared', path)
      if (next === null || typeof next !== 'object') continue
      if (isSchema(next)) {
        for (const key of ['$anchor', '$dynamicAnchor'])
          if (typeof next[key] === 'string') anchors.set(`#${next[key]}`, next)
        for (const key of ['$id', 'id']) if (typeof next[key] === 'string') anchors.set(String(next[key]), next)
      }
      waiting.push(...Object.values(next))
    }
    return anchors
  }
}

function pointerKey(step: string): string | undefined {
  try {
    return decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
  } catch {
    return undefined
  }
}
