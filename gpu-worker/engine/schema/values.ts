/** The form of any schema: references, constants, branches and then its types. */
import { arrayForm } from './arrays.ts'
import { NothingMatches, SchemaRefused, shown } from './compile-budget.ts'
import { withoutConditions } from './conditions.ts'
import { anyValue, type Form, formOf, kind } from './form.ts'
import { has, isConstraint, isKeyword, types, typesOf } from './keywords.ts'
import { constantsForm } from './listed-values.ts'
import { integerForm, numberForm } from './numbers.ts'
import { objectForm } from './objects.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'
import { stringForm } from './strings.ts'
import { branchesForm, unionForm } from './unions.ts'

export function valueForm(writer: SchemaWriter, schema: unknown, path: string, depth: number): Form {
  writer.path = path
  if (depth > depthMax)
    throw new SchemaRefused('schema', path, `it is nested more than ${depthMax} deep. Use a flatter schema`)
  writer.budget.spend('schemaVisits', 1, path)
  if (schema === true || schema === undefined) return anyValue
  if (!isSchema(schema)) throw new NothingMatches('false', path, 'nothing can match it. Remove it')
  const again = (rewritten: SchemaObject | false) => writer.value(rewritten, path, depth + 1)
  const { ref, siblings } = referenceOf(writer, schema, path)
  if (ref !== undefined) {
    if (!Object.keys(siblings).some((key) => isConstraint(key))) return referenceForm(writer, schema, ref, path, depth)
    return again(writer.mergedInto(siblings, [writer.references.target(ref, path, schema)], '$ref', path))
  }
  if (Array.isArray(schema.allOf)) return again(writer.mergedInto(schema, [], 'allOf', path))
  if (has(schema, 'const') || Array.isArray(schema.enum)) return constantsForm(writer, schema, path)
  if (Array.isArray(schema.anyOf)) return branchesForm(writer, schema, 'anyOf', path, depth)
  if (Array.isArray(schema.oneOf)) return branchesForm(writer, schema, 'oneOf', path, depth)
  const unconditional = withoutConditions(writer, schema, path)
  if (unconditional !== undefined) return again(unconditional)
  const alternatives = typesOf(schema)
  if (alternatives === types && !Object.keys(schema).some((key) => isKeyword(key))) return anyValue
  return unionForm(
    writer,
    writer.some(alternatives.map((type) => writer.attempt(() => typedForm(writer, schema, type, path, depth)))),
    'type',
    path,
  )
}

function typedForm(writer: SchemaWriter, schema: SchemaObject, type: string, path: string, depth: number): Form {
  switch (type) {
    case 'object':
      return objectForm(writer, schema, path, depth)
    case 'array':
      return arrayForm(writer, schema, path, depth)
    case 'string':
      return stringForm(writer, schema, path)
    case 'integer':
      return integerForm(writer, schema, path)
    case 'number':
      return numberForm(writer, schema, path)
    case 'boolean':
      return formOf('boolean', kind.boolean, 2, 2)
    case 'null':
      return formOf('null', kind.null, 1)
    default:
      throw new SchemaRefused('type', path, `"${shown(type)}" is not a JSON type. Use one of ${types.join(', ')}`)
  }
}

/** The reference of the schema and the keywords next to it. A dynamic reference with one target is a plain one. */
function referenceOf(writer: SchemaWriter, schema: SchemaObject, path: string) {
  const { $ref, $dynamicRef, $recursiveRef, ...rest } = schema
  if (typeof $ref === 'string') return { ref: $ref, siblings: withoutKey(schema, '$ref') }
  if (typeof $dynamicRef === 'string' && writer.references.isStatic($dynamicRef, path))
    return { ref: $dynamicRef, siblings: withoutKey(schema, '$dynamicRef') }
  if ($dynamicRef !== undefined) writer.unenforced('$dynamicRef', path, 'several schemas have its anchor. Use $ref')
  if ($recursiveRef !== undefined) writer.unenforced('$recursiveRef', path, 'it is not supported. Use $ref')
  return { ref: undefined, siblings: rest }
}

function withoutKey(schema: SchemaObject, key: string): SchemaObject {
  return Object.fromEntries(Object.entries(schema).filter(([name]) => name !== key))
}

function referenceForm(writer: SchemaWriter, schema: SchemaObject, ref: string, path: string, depth: number): Form {
  const target = writer.references.target(ref, path, schema)
  const known = writer.referred.get(target)
  if (known) {
    if (writer.recursion.isBare(target)) throw new SchemaRefused('$ref', path, `"${shown(ref)}" refers only to itself`)
    return known
  }
  const rule = writer.newName()
  const id = writer.recursion.enter(target)
  writer.referred.set(target, { ...formOf(rule, anyValue.kinds, 0), open: id })
  const form = writer.value(target, ref.startsWith('#') ? ref : `${path}/$ref`, depth + 1)
  writer.define(rule, form.text, path)
  const complete = { ...form, text: rule, open: writer.recursion.leave(target, form) }
  writer.referred.set(target, complete)
  return complete
}

/** A schema that is nested deeper is refused. The budget `schemaVisits` bounds chains of references. */
const depthMax = 64
