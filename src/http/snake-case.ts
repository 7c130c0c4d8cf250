/** Converts field names at every depth: routes about tenants, keys and money use snake_case, like the chat routes. */
export function toSnake(value: unknown): unknown {
  return renamed(value, snakeName)
}

/** `tenantId` becomes `tenant_id`. */
export function snakeName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** Names that are camelCase already stay as they are. */
export function toCamel(value: unknown): unknown {
  return renamed(value, (name) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()))
}

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((each) => renamed(each, rename))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [rename(name), renamed(each, rename)]))
}
