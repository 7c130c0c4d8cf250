/**
 * Dollars next to nano-dollars: every field `…_nano` of an answer has a field `…_usd` next to it, the same amount as a
 * decimal string. One rule for the answers and for their schemas, so that no route can forget it.
 */
import { dollars } from '../../backends/model/money.ts'

type Fields = Record<string, unknown>

/** Fields whose budgets are objects with amounts of their own, or null without a limit. */
const withInnerAmounts = 'left'

/** @param value an answer with snake_case names */
export function withDollars(value: unknown, field = ''): unknown {
  if (Array.isArray(value)) return value.map((each) => withDollars(each))
  if (!isObject(value)) return value
  const fields = Object.entries(value).flatMap(([name, each]): [string, unknown][] => {
    const own: [string, unknown] = [name, withDollars(each, name)]
    const usd = dollarName(name)
    if (usd === undefined || Object.hasOwn(value, usd) || (field === withInnerAmounts && isObject(each))) return [own]
    const amount = dollarsOf(each)
    return amount === undefined ? [own] : [own, [usd, amount]]
  })
  return Object.fromEntries(fields)
}

/** The schema of an answer that `withDollars` changed, from its JSON schema with snake_case names. */
export function schemaWithDollars(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(schemaWithDollars)
  if (!isObject(schema)) return schema
  const inner = Object.fromEntries(Object.entries(schema).map(([key, each]) => [key, schemaWithDollars(each)]))
  return isObject(schema.properties) ? withFields(inner, schema.properties) : inner
}

function withFields(inner: Fields, properties: Fields): Fields {
  const required = Array.isArray(inner.required) ? (inner.required as string[]) : []
  const fields: [string, unknown][] = []
  const added: string[] = []
  for (const [name, each] of Object.entries(inner.properties as Fields)) {
    fields.push([name, each])
    const usd = dollarName(name)
    const schema = usd === undefined || Object.hasOwn(properties, usd) ? undefined : dollarSchema(properties[name])
    if (usd === undefined || schema === undefined) continue
    fields.push([usd, schema])
    if (required.includes(name)) added.push(usd)
  }
  return {
    ...inner,
    properties: Object.fromEntries(fields),
    ...(added.length > 0 && { required: [...required, ...added] }),
  }
}

/** Undefined if the field is no amount, such as an object that has fields of its own with amounts. */
function dollarsOf(value: unknown): unknown {
  if (typeof value === 'number') return dollars(value)
  if (value === null) return null
  if (!isObject(value)) return undefined
  const amounts = Object.entries(value).map(([name, each]) => [name, isObject(each) ? undefined : dollarsOf(each)])
  return amounts.some(([, amount]) => amount === undefined) ? undefined : Object.fromEntries(amounts)
}

const description = 'The same amount in dollars, exactly.'
const pattern = '^-?\\d+(\\.\\d+)?$'

function dollarSchema(schema: unknown): Fields | undefined {
  if (!isObject(schema)) return undefined
  const { type, anyOf, properties } = schema
  if (type === 'integer' || type === 'number') return { type: 'string', pattern, description }
  if (type === 'null') return { type: 'null', description }
  if (Array.isArray(anyOf)) {
    const types = anyOf.map((each) => (isObject(each) ? each.type : undefined))
    const amounts = types.every((each) => each === 'integer' || each === 'number' || each === 'null')
    return amounts ? { anyOf: [{ type: 'string', pattern }, { type: 'null' }], description } : undefined
  }
  if (!isObject(properties)) return undefined
  const fields = Object.entries(properties).map(([name, each]) => {
    return [name, isObject(each) && isObject(each.properties) ? undefined : dollarSchema(each)] as const
  })
  if (fields.some(([, each]) => each === undefined)) return undefined
  return { ...schema, properties: Object.fromEntries(fields), description }
}

function dollarName(name: string): string | undefined {
  return name.endsWith('_nano') ? `${name.slice(0, -'_nano'.length)}_usd` : undefined
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
