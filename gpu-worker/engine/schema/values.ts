/** The form of any schema: references, constants, branches and then its types. */
import { arrayForm } from './arrays.ts'
import { NothingMatches, SchemaRefused, shown } from './compile-budget.ts'
import { anyValue, type Form, formOf, kind } from './form.ts'
import { has, isConstraint, isKeyword, types, typesOf } from './keywords.ts'
import { constantsForm } from './listed-values.ts'
import { integerForm, numberForm } from './numbers.ts'
import { objectForm } from './objects.ts'
import { isSchema, type SchemaObject } from './schema-parts.ts'
import type { SchemaWriter } from './schema-writer.ts'
import { excludable, stringForm } from './strings.ts'
import { branchesForm, unionForm } from './unions.ts'

export function valueForm(writer: SchemaWriter, schema: unknown, path: string, depth: number): Form {
  writer.path = path
  if (depth > depthMax)
    throw new SchemaRefused('schema', path, `it is nested more than ${depthMax} deep. Use a flatter schema`)
  writer.budget.spend('schemaVisits', 1, path)
  if (schema === true || schema === undefined) return anyValue
  if (!isSchema(schema)) throw new NothingMatches('false', path, 'nothing can match it. Remove it')
  if (typeof schema.$ref === 'string') {
    const { $ref, ...siblings } = schema
    if (!Object.keys(siblings).some((key) => isConstraint(key)))
      return referenceForm(writer, $ref as string, path, depth)
    return writer.value(
      writer.merged([siblings, writer.references.target($ref as string, path)], '$ref', path),
      path,
      depth + 1,
    )
  }
  if (Array.isArray(schema.allOf)) return writer.value(writer.merged([schema], 'allOf', path), path, depth + 1)
  if (has(schema, 'const') || Array.isArray(schema.enum)) return constantsForm(writer, schema, path)
  if (Array.isArray(schema.anyOf)) return branchesForm(writer, schema, 'anyOf', path, depth)
  if (Array.isArray(schema.oneOf)) return branchesForm(writer, schema, 'oneOf', path, depth)
  const alternatives = withoutNot(writer, schema, path)
  checkKeywords(writer, schema, alternatives, path)
  if (alternatives === types && !Object.keys(schema).some((key) => isKeyword(key))) return anyValue
  return unionForm(
    writer,
    alternatives.map((type) => typedForm(writer, schema, type, path, depth)),
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

function referenceForm(writer: SchemaWriter, ref: string, path: string, depth: number): Form {
  const known = writer.referred.get(ref)
  if (known) {
    if (writer.recursion.isBare(ref)) throw new SchemaRefused('$ref', path, `"${shown(ref)}" refers only to itself`)
    return known
  }
  const target = writer.references.target(ref, path)
  const rule = writer.newName()
  const id = writer.recursion.enter(ref)
  writer.referred.set(ref, { ...formOf(rule, anyValue.kinds, 0), open: id })
  const form = writer.value(target, ref, depth + 1)
  writer.define(rule, form.text, path)
  const complete = { ...form, text: rule, open: writer.recursion.leave(ref, form) }
  writer.referred.set(ref, complete)
  return complete
}

/** The types that `type` and `not` leave. */
function withoutNot(writer: SchemaWriter, schema: SchemaObject, path: string): string[] {
  const alternatives = typesOf(schema)
  const { not } = schema
  if (!has(schema, 'not') || not === false) return alternatives
  const keys = isSchema(not) ? Object.keys(not).filter((key) => isConstraint(key)) : []
  if (not === true || (isSchema(not) && keys.length === 0))
    throw new NothingMatches('not', path, 'it excludes every value. Remove it')
  const excluded = isSchema(not) && keys.length === 1 && keys[0] === 'type' ? [not.type].flat().map(String) : undefined
  if (excluded && !(excluded.includes('integer') && alternatives.includes('number'))) {
    const left = alternatives.filter(
      (type) => !excluded.includes(type) && !(type === 'integer' && excluded.includes('number')),
    )
    if (left.length === 0) throw new NothingMatches('not', path, 'it excludes every type')
    return left
  }
  const isText = alternatives.length === 1 && alternatives[0] === 'string'
  if (!isText || !isSchema(not) || !keys.every((key) => excludable.has(key)))
    writer.unenforced('not', path, 'it is enforced only for types, and for strings. List what is allowed instead')
  return alternatives
}

function checkKeywords(
  writer: SchemaWriter,
  schema: SchemaObject,
  alternatives: readonly string[],
  path: string,
): void {
  const no = (keyword: string, reason: string) => {
    if (has(schema, keyword)) writer.unenforced(keyword, path, reason)
  }
  if (has(schema, 'then') || has(schema, 'else')) no('if', 'it is not supported. Use anyOf with one branch per case')
  no('$dynamicRef', 'it is not supported. Use $ref')
  no('$recursiveRef', 'it is not supported. Use $ref')
  if (alternatives.includes('array')) checkArray(writer, schema, path)
  if (!alternatives.includes('object')) return
  no('dependentSchemas', 'it is not supported. Use anyOf with one branch per case')
  no('dependencies', 'it is not supported. Use anyOf with one branch per case')
  const required = new Set(writer.required(schema.required, path))
  for (const [name, others] of Object.entries(isSchema(schema.dependentRequired) ? schema.dependentRequired : {}))
    if (!Array.isArray(others) || !others.every((other) => other === name || required.has(String(other))))
      no('dependentRequired', 'it is not supported. Use anyOf with one branch per case')
}

function checkArray(writer: SchemaWriter, schema: SchemaObject, path: string): void {
  const { maxItems, minContains } = schema
  if (schema.uniqueItems === true && !(typeof maxItems === 'number' && maxItems <= 1))
    writer.unenforced('uniqueItems', path, 'items cannot be compared. Remove it, and remove duplicates afterwards')
  if (has(schema, 'contains') && minContains !== 0)
    writer.unenforced('contains', path, 'it is not supported. Describe all items with "items" and "prefixItems"')
}

/** A schema that is nested deeper is refused. The budget `schemaVisits` bounds chains of references. */
const depthMax = 64
