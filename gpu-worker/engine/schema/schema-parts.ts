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
