/** The keywords that constrain a value, by the type of the value. */
import type { SchemaObject } from './schema-parts.ts'

const keywordsOf: Record<string, readonly string[]> = {
  object: [
    ...['properties', 'required', 'additionalProperties', 'unevaluatedProperties', 'patternProperties'],
    ...['propertyNames', 'minProperties', 'maxProperties', 'dependentRequired', 'dependentSchemas', 'dependencies'],
  ],
  array: [
    ...['items', 'prefixItems', 'additionalItems', 'unevaluatedItems', 'minItems', 'maxItems', 'uniqueItems'],
    ...['contains'],
  ],
  string: ['minLength', 'maxLength', 'format', 'pattern'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  boolean: [],
  null: [],
}
export const types = Object.keys(keywordsOf)

/** Whether the keyword constrains the value. Unknown keywords are annotations, as in the standard. */
export function isConstraint(key: string): boolean {
  return isKeyword(key) || structural.has(key)
}

const structural = new Set(
  ['type', 'nullable', 'enum', 'const', 'allOf', 'anyOf', 'oneOf', 'not', 'if', 'then', 'else', '$ref'].concat([
    '$dynamicRef',
    '$recursiveRef',
    'minContains',
    'maxContains',
  ]),
)

export function isKeyword(key: string): boolean {
  return types.some((type) => keywordsOf[type]?.includes(key))
}

/** Whether the schema has its own key: inherited names such as `constructor` do not count. */
export function has(schema: object, key: string): boolean {
  return Object.hasOwn(schema, key)
}

export function typesOf({ type, properties, required, items, prefixItems, nullable }: SchemaObject): string[] {
  const listed = [...new Set(Array.isArray(type) ? type.map(String) : type === undefined ? [] : [String(type)])]
  if (listed.length > 0) return nullable === true ? [...new Set([...listed, 'null'])] : listed
  if (properties !== undefined || required !== undefined) return ['object']
  if (items !== undefined || prefixItems !== undefined) return ['array']
  return types
}
