/** Readers of schemas and values that compiling, merging and checking share. */

export type SchemaObject = Record<string, unknown>

/** The schemas of the first items and of those after them, in the form of both drafts. */
export function itemsOf(schema: SchemaObject): { prefix: readonly unknown[]; rest: unknown; restKeyword: string } {
  const { items, prefixItems, additionalItems, unevaluatedItems } = schema
  const restOf = (restKeyword: string, rest: unknown) =>
    rest === undefined ? { rest: unevaluatedItems, restKeyword: 'unevaluatedItems' } : { rest, restKeyword }
  if (Array.isArray(prefixItems)) return { prefix: prefixItems, ...restOf('items', items) }
  if (Array.isArray(items)) return { prefix: items, ...restOf('additionalItems', additionalItems) }
  return { prefix: [], ...restOf('items', items) }
}

/** Keywords that have an effect only together, by the keyword that must be present. */
const groups = { if: ['if', 'then', 'else'], contains: ['contains', 'minContains', 'maxContains'] } as const

/**
 * The groups of the keyword that apply to one value: one in a client's schema, and any number after a merge, which
 * makes a list of them.
 */
export function groupsOf(schema: SchemaObject, keyword: keyof typeof groups): SchemaObject[] {
  if (!Object.hasOwn(schema, keyword)) return []
  if (Array.isArray(schema[keyword])) return (schema[keyword] as unknown[]).filter(isSchema)
  const own = groups[keyword].filter((key) => Object.hasOwn(schema, key))
  return [Object.fromEntries(own.map((key) => [key, schema[key]]))]
}

/** The schema with its groups as lists, so that they can be merged. */
export function grouped(schema: SchemaObject): SchemaObject {
  const present = (['if', 'contains'] as const).filter((keyword) => Object.hasOwn(schema, keyword))
  if (present.length === 0) return schema
  const members = new Set<string>(present.flatMap((keyword) => groups[keyword]))
  const others = Object.entries(schema).filter(([key]) => !members.has(key))
  return Object.fromEntries([...others, ...present.map((keyword) => [keyword, groupsOf(schema, keyword)])])
}

export function isOf(value: unknown, type: string): boolean {
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return isSchema(value)
  if (type === 'integer') return Number.isInteger(value)
  return typeof value === type
}

export function isSchema(value: unknown): value is SchemaObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

/** Whether two JSON values are equal. */
export function same(a: unknown, b: unknown, spend: (compared: number) => void = () => {}): boolean {
  spend(typeof a === 'string' ? 1 + a.length / 64 : 1)
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((each, index) => same(each, b[index], spend))
  if (!isSchema(a) || !isSchema(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  return keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key], spend))
}
