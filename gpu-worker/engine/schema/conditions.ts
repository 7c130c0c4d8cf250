/**
 * Keywords whose effect depends on the value, as branches: `if`, `not`, `dependentRequired`, `dependentSchemas` and
 * `dependencies`. Each of them becomes a list of schemas of which one must match.
 */
import { NothingMatches } from './compile-budget.ts'
import { has, isConstraint, typesOf } from './keywords.ts'
import { negationOf } from './negation.ts'
import { groupsOf, isSchema, type SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'

/** The schema without these keywords; undefined if it has none. False if no value matches it. */
export function withoutConditions(
  writer: SchemaWriter,
  schema: SchemaObject,
  path: string,
): SchemaObject | false | undefined {
  const sets: ConditionBranches[] = []
  const { if: _if, then: _then, else: _else, dependentRequired, dependentSchemas, dependencies, not, ...rest } = schema
  const negated = (each: unknown) => negationOf(each, (ref, from) => writer.references.target(ref, path, from))
  for (const group of groupsOf(schema, 'if'))
    if (has(group, 'then') || has(group, 'else')) sets.push(decision(group, negated(group.if)))
  const required = new Set(writer.required(schema.required, path))
  for (const [keyword, list] of Object.entries({ dependentRequired, dependentSchemas, dependencies }))
    for (const [name, dependent] of Object.entries(isSchema(list) ? list : {})) {
      const others = Array.isArray(dependent) ? { required: dependent.map(String) } : dependent
      if (Array.isArray(dependent) && dependent.every((each) => each === name || required.has(String(each)))) continue
      const present = { required: [name], allOf: [others] }
      sets.push({ keyword, branches: required.has(name) ? [present] : [absent(name), present], negated: [] })
    }
  const excluded = has(schema, 'not') ? [not].flat() : []
  const left = excluded.filter((each) => isLeaf(each, schema))
  for (const each of excluded) if (!left.includes(each)) sets.push(exclusion(negated(each)))
  const same = left.length === excluded.length && sets.length === 0
  if (same && ['dependentRequired', 'dependentSchemas', 'dependencies', 'if'].every((key) => !has(schema, key)))
    return undefined
  return mergedBranches(writer, { ...rest, ...(left.length > 0 && { not: left }) }, sets, path)
}

interface ConditionBranches {
  keyword: string
  branches: unknown[]
  /** The branches, or their parts, that are negations. */
  negated: readonly unknown[]
}

function decision(
  { if: condition, then = true, else: otherwise = true }: SchemaObject,
  negated: unknown[],
): ConditionBranches {
  const failed = negated.map((each) => ({ allOf: [each, otherwise] }))
  return { keyword: 'if', branches: [{ allOf: [condition, then] }, ...failed], negated }
}

function exclusion(negated: unknown[]): ConditionBranches {
  return { keyword: 'not', branches: negated, negated }
}

function mergedBranches(
  writer: SchemaWriter,
  rest: SchemaObject,
  sets: readonly ConditionBranches[],
  path: string,
): SchemaObject | false {
  const parts = sets.flatMap(({ keyword, branches }) => {
    writer.budget.spend('schemaAlternatives', branches.length, path)
    if (branches.length > 0) return branches.length === 1 ? branches : [{ anyOf: branches }]
    throw new NothingMatches(keyword, path, 'it excludes every value, or values that no grammar can exclude. Remove it')
  })
  const keyword = sets[0]?.keyword ?? 'not'
  // A keyword that is negated evaluates no property and no item, so what it names stays unevaluated.
  const isUnseen = sets.some(({ negated }) => negated.some((each) => describesMore(each, rest)))
  return isUnseen ? writer.merged([rest, ...parts], keyword, path) : writer.mergedInto(rest, parts, keyword, path)
}

/** Whether the schema describes properties or items that `rest` does not. */
function describesMore(schema: unknown, rest: SchemaObject): boolean {
  if (!isSchema(schema)) return false
  const named = isSchema(rest.properties) ? rest.properties : {}
  const names = Object.keys(isSchema(schema.properties) ? schema.properties : {})
  return names.some((name) => !has(named, name)) || describing.some((key) => has(schema, key))
}

const describing = [
  'items',
  'prefixItems',
  'contains',
  'additionalProperties',
  'not',
  'allOf',
  'anyOf',
  'oneOf',
  '$ref',
]

/** No property with the name. */
function absent(name: string): SchemaObject {
  return { properties: Object.fromEntries([[name, false]]) }
}

/** Whether the automaton of a string or of a number excludes the schema by itself. */
function isLeaf(excluded: unknown, schema: SchemaObject): boolean {
  const [type, ...others] = typesOf(schema)
  if (others.length > 0 || !isSchema(excluded)) return false
  const keys = Object.keys(excluded).filter((key) => isConstraint(key))
  if (type === 'string') return keys.length > 0 && keys.every((key) => excludable.has(key))
  return (type === 'number' || type === 'integer') && keys.length === 1 && keys[0] === 'multipleOf'
}

/** Keywords that `not` may have for a string. */
const excludable = new Set(['type', 'const', 'enum', 'pattern', 'format'])
