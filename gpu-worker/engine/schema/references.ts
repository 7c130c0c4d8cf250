/**
 * The schemas that `$ref` names, within the client's schema: by pointer, `$anchor` or `$id`.
 *
 * A reference is resolved against the nearest `$id` around it. Constants and examples contain no schemas, so their
 * `$id` and `$anchor` have no meaning.
 */
import { SchemaRefused, shown } from './compile-budget.ts'
import { has } from './keywords.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'

interface Resource {
  uri: string
  root: unknown
  /** Old drafts ignore keywords next to `$ref`, `$id` among them. */
  old: boolean
}

/** The base of a schema without `$id`: no client's reference begins with it. */
const unnamed = 'schema://0/'
const notSchemas = new Set(['const', 'enum', 'default', 'examples', 'example'])
/** Keywords whose value has names chosen by the client. */
const maps = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas', 'dependencies'])

export class References {
  readonly #root: unknown
  readonly #spend: (path: string) => void
  readonly #resources = new Map<string, Resource>()
  readonly #anchors = new Map<string, unknown>()
  readonly #dynamic = new Map<string, number>()
  readonly #bases = new Map<unknown, Resource>()
  #read = false

  /** @param spend charges one step */
  constructor(root: unknown, spend: (path: string) => void) {
    this.#root = root
    this.#spend = spend
  }

  /**
   * Throws SchemaRefused at `path` if there is no such schema.
   * @param from the schema that has the reference
   */
  target(ref: string, path: string, from?: unknown): unknown {
    if (this.#isAmbiguous(from, path))
      throw new SchemaRefused('$ref', path, 'it is next to "$id", which drafts read differently. Add "$schema"')
    const target = ref === '#' || ref.startsWith('#/') ? this.#simple(ref, path, from) : this.#named(ref, path, from)
    if (target === undefined)
      throw new SchemaRefused(
        '$ref',
        path,
        `"${shown(ref)}" points to nothing. Add the definition or correct the reference`,
      )
    return target
  }

  /** Whether only one schema has the anchor, so that a dynamic reference has one target. */
  isStatic(ref: string, path: string): boolean {
    this.#readAll(path)
    return (this.#dynamic.get(ref.slice(ref.indexOf('#') + 1)) ?? 0) <= 1
  }

  #simple(ref: string, path: string, from: unknown): unknown {
    const root = this.#hasIds(path) ? (this.#bases.get(from)?.root ?? this.#root) : this.#root
    return this.#pointed(root, ref.slice(1), ref, path)
  }

  #named(ref: string, path: string, from: unknown): unknown {
    this.#readAll(path)
    const base = this.#bases.get(from)?.uri ?? this.#resources.values().next().value?.uri ?? unnamed
    const [uri = '', fragment = ''] = (resolved(ref, base) ?? '').split('#', 2)
    const resource = this.#resources.get(uri)
    if (!resource)
      throw new SchemaRefused(
        '$ref',
        path,
        `"${shown(ref)}" points outside the schema. Use a reference that begins with "#/"`,
      )
    if (fragment === '' || fragment.startsWith('/')) return this.#pointed(resource.root, fragment, ref, path)
    return this.#anchors.get(`${uri}#${fragment}`)
  }

  #pointed(root: unknown, pointer: string, ref: string, path: string): unknown {
    let target = root
    for (const step of pointer.split('/').slice(1)) {
      this.#spend(path)
      const key = pointerKey(step)
      if (key === undefined) throw new SchemaRefused('$ref', path, `"${shown(ref)}" has a stray "%". Write it as %25`)
      if (!(isSchema(target) || Array.isArray(target)) || !has(target, key)) return undefined
      target = (target as SchemaObject)[key]
    }
    return target
  }

  #isAmbiguous(from: unknown, path: string): boolean {
    if (!isSchema(from) || typeof from.$id !== 'string' || typeof from.$ref !== 'string') return false
    return (
      from !== this.#root && !(isSchema(this.#root) && typeof this.#root.$schema === 'string' && this.#hasIds(path))
    )
  }

  #hasIds(path: string): boolean {
    this.#readAll(path)
    return this.#resources.size > 1
  }

  #readAll(path: string): void {
    if (this.#read) return
    this.#read = true
    const top: Resource = { uri: unnamed, root: this.#root, old: isOld(this.#root) }
    this.#resources.set(unnamed, top)
    const waiting: { value: unknown; base: Resource; isMap: boolean }[] = [
      { value: this.#root, base: top, isMap: false },
    ]
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      this.#spend(path)
      const { value, isMap } = next
      if (value === null || typeof value !== 'object') continue
      const base = isSchema(value) && !isMap ? this.#baseOf(value, next.base) : next.base
      this.#bases.set(value, base)
      for (const [key, each] of Object.entries(value))
        if (isMap || Array.isArray(value) || !notSchemas.has(key))
          waiting.push({ value: each, base, isMap: !isMap && !Array.isArray(value) && maps.has(key) })
    }
  }

  /** Notes the schema's names. Returns the resource that it belongs to. */
  #baseOf(schema: SchemaObject, outer: Resource): Resource {
    const id = schema.$id ?? (outer.old ? schema.id : undefined)
    const ignored = outer.old && typeof schema.$ref === 'string'
    let base = outer
    if (typeof id === 'string' && !ignored) {
      const [uri = '', anchor] = (resolved(id, outer.uri) ?? id).split('#', 2)
      if (anchor) this.#anchors.set(`${uri}#${anchor}`, schema)
      if (uri !== outer.uri) {
        base = { uri, root: schema, old: outer.old }
        this.#resources.set(uri, base)
        // References to the root may also use its own name.
        if (schema === this.#root) this.#resources.set(unnamed, base)
      }
    }
    for (const key of ['$anchor', '$dynamicAnchor']) {
      const name = schema[key]
      if (typeof name !== 'string') continue
      this.#anchors.set(`${base.uri}#${name}`, schema)
      if (key === '$dynamicAnchor') this.#dynamic.set(name, (this.#dynamic.get(name) ?? 0) + 1)
    }
    return base
  }
}

function isOld(root: unknown): boolean {
  return isSchema(root) && typeof root.$schema === 'string' && /draft-0[3-7]/.test(root.$schema)
}

function resolved(ref: string, base: string): string | undefined {
  try {
    return new URL(ref, base).href
  } catch {
    return undefined
  }
}

function pointerKey(step: string): string | undefined {
  try {
    return decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
  } catch {
    return undefined
  }
}
