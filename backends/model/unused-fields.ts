/**
 * The fields of a body that its schema does not read. No field is dropped in silence: each one that a client sends and
 * that has no effect is named in a warning, whether a vendor documents it or not.
 */
import { z } from 'zod'

/** Distinct fields that are named; a body may have tens of thousands. */
const namedMax = 32
const nameCharactersMax = 64

/** Fields that vendors document and that have less effect here, with the values that ask for nothing. */
const unsupportedFields = z.registry<{ neutral: readonly unknown[]; outcome: string }>()
/** Objects that are removed as a whole, with a warning of their own. */
const removedObjects = new WeakSet<z.core.$ZodType>()

/** A field of a vendor that is ignored. @param neutral values that ask for nothing, so they add no warning */
export function unsupportedField(...neutral: (string | number | boolean)[]) {
  const unless = neutral.length === 0 ? '' : `, unless it is ${neutral.map((value) => `\`${value}\``).join(' or ')}`
  const field = z.unknown().optional().describe(`Not supported: ignored, with a warning${unless}.`)
  return withWarning(field, ignored, ...neutral)
}

/** A field that is read, and whose value adds a warning with this outcome. */
export function withWarning<Schema extends z.ZodType>(
  schema: Schema,
  outcome: string,
  ...neutral: (string | number | boolean)[]
): Schema {
  unsupportedFields.add(schema, { neutral, outcome })
  return schema
}

const ignored = 'not supported, ignored'

/** A field that asks for nothing that an answer could show, such as a label of the client. */
export function fieldWithoutEffect(why: string) {
  return z.unknown().optional().describe(`Without effect: ${why}.`)
}

/** A label of the client. The gateway reads it; the engine does not get it. A value that cannot be one adds a warning. */
export function usageLabel(description: string) {
  return z.unknown().optional().describe(`Without effect on the answer: ${description}`)
}

/** An object that is removed as a whole: its fields need no warnings. */
export function removedObject<Schema extends z.ZodType>(schema: Schema): Schema {
  removedObjects.add(schema)
  return schema
}

/** Warnings for the fields of `body` that have no effect. The time is linear in the body; never throws. */
export function unusedFields(schema: z.ZodType, body: unknown): string[] {
  const named = new Map<string, string>()
  visit(schema, body, { path: '', general: '' }, named)
  const warnings = [...named.values()].slice(0, namedMax)
  return named.size > namedMax ? [...warnings, 'body: more fields are not supported and were ignored'] : warnings
}

interface Place {
  path: string
  /** The path without indexes, so that a field of every message is named once. */
  general: string
}

/** @param named warnings by general path */
function visit(schema: z.core.$ZodType, value: unknown, at: Place, named: Map<string, string>): void {
  if (typeof value !== 'object' || value === null) return
  const { shape, element } = fieldsOf(schema, value)
  if (element && Array.isArray(value)) {
    const general = `${at.general}[]`
    for (const [index, item] of value.entries()) visit(element, item, { path: `${at.path}[${index}]`, general }, named)
    return
  }
  if (!shape) return
  for (const [name, inner] of Object.entries(value)) {
    if (named.size > namedMax) return
    const field = Object.hasOwn(shape, name) ? shape[name] : undefined
    const outcome = field ? outcomeOf(field, inner) : ignored
    if (outcome === undefined && (typeof inner !== 'object' || inner === null)) continue
    const place = inside(at, name.slice(0, nameCharactersMax))
    if (outcome !== undefined && inner != null && !named.has(place.general))
      named.set(place.general, `${place.path}: ${outcome}`)
    if (field) visit(field, inner, place, named)
  }
}

const inside = ({ path, general }: Place, name: string): Place =>
  path === '' ? { path: name, general: name } : { path: `${path}.${name}`, general: `${general}.${name}` }

/** The warning's text for this value of a field; undefined if it has its full effect or asks for nothing. */
function outcomeOf(field: z.core.$ZodType, value: unknown): string | undefined {
  const unsupported = unsupportedFields.get(field as z.ZodType)
  if (!unsupported || value == null || unsupported.neutral.includes(value)) return undefined
  return typeof value !== 'object' || Object.keys(value).length > 0 ? unsupported.outcome : undefined
}

interface KnownFields {
  shape?: Readonly<Record<string, z.core.$ZodType>>
  element?: z.core.$ZodType
}

/** The fields of an object, or the items of an array; neither where a schema takes any value. */
function fieldsOf(schema: z.core.$ZodType, value: object): KnownFields {
  if (removedObjects.has(schema)) return {}
  const { def } = schema._zod as z.core.$ZodTypes['_zod']
  switch (def.type) {
    case 'object':
      return Array.isArray(value) ? {} : { shape: def.shape }
    case 'array':
      return Array.isArray(value) ? { element: def.element } : {}
    case 'union': {
      const option = def.options.find((each) => fits(each, value))
      return option ? fieldsOf(option, value) : {}
    }
    case 'pipe':
      return fieldsOf(def.in, value)
    case 'optional':
    case 'nullable':
    case 'default':
    case 'catch':
      return fieldsOf(def.innerType, value)
    default:
      return {}
  }
}

/** Whether the value can be meant by this option: an array for an array, an object with the option's words. */
function fits(option: z.core.$ZodType, value: object): boolean {
  const { def } = option._zod as z.core.$ZodTypes['_zod']
  switch (def.type) {
    case 'object':
      return !Array.isArray(value) && Object.entries(def.shape).every(([name, field]) => hasWord(field, value, name))
    case 'array':
      return Array.isArray(value)
    case 'union':
      return def.options.some((each) => fits(each, value))
    case 'pipe':
      return fits(def.in, value)
    case 'optional':
    case 'nullable':
    case 'default':
    case 'catch':
      return fits(def.innerType, value)
    default:
      return false
  }
}

/** False if the field may only have certain words and has another one. */
function hasWord(field: z.core.$ZodType, value: object, name: string): boolean {
  const words = field._zod.values
  return words === undefined || words.has((value as Record<string, unknown>)[name] as never)
}
