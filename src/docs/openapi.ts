/** The OpenAPI 3.1 document, generated from the routes' own schemas. */
import { z } from 'zod'
import { schemaWithDollars } from '../http/dollars.ts'
import { AnthropicRefusal, Refusal } from '../http/response-schemas.ts'
import { type Operation, type OtherAnswer, tags } from '../http/route.ts'
import { snakeName, toCamel, toSnake } from '../http/snake-case.ts'
import type { Audience } from './navigation.ts'

type Json = Record<string, unknown>

/** The audience of an operation; undefined for messages between the gateway and its workers. */
export function audienceOf({ auth }: Operation): Audience | undefined {
  if (auth === 'worker') return undefined
  return auth === 'operator' ? 'operators' : 'users'
}

/** @param origin the gateway's public origin */
export function openapi(operations: readonly Operation[], origin: string, audience: Audience): Json {
  const own = operations.filter((operation) => audienceOf(operation) === audience)
  const named = new NamedSchemas()
  const paths: Record<string, Json> = {}
  for (const operation of own) {
    const path = documentedPath(operation)
    paths[path] = { ...paths[path], [operation.method]: describe(operation, named) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tramontane',
      version: '1',
      summary: 'Mistral Small 4 as a metered API, in the dialects of OpenAI, Anthropic and Mistral.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: origin }],
    tags: Object.entries(tags)
      .filter(([name]) => own.some(({ tag }) => tag === name))
      .map(([name, description]) => ({ name, description })),
    paths,
    components: { securitySchemes: securitySchemes[audience], schemas: named.all, headers: named.headers },
  }
}

/**
 * Schemas with an id (`.meta({ id })`) become components that others refer to. A schema whose fields have defaults
 * differs between a body and an answer: then the body's component is named with the suffix `Input`.
 */
class NamedSchemas {
  readonly all: Record<string, Json> = {}
  readonly headers: Json = {}

  /** References to headers with these descriptions. */
  addHeaders(descriptions: Readonly<Record<string, string>>): Json {
    const references: Json = {}
    for (const [name, description] of Object.entries(descriptions)) {
      this.headers[name] = { description, schema: { type: 'string' } }
      references[name] = { $ref: `#/components/headers/${name}` }
    }
    return references
  }

  /** @param snake whether the wire has snake_case names */
  add(schema: z.ZodType, io: 'input' | 'output', snake = false): Json {
    const made = jsonSchema(schema, io)
    const {
      $schema: _,
      $defs = {},
      ...rest
    } = (snake ? wireSchema(made, io) : made) as Json & {
      $defs?: Record<string, Json>
    }
    const names = new Map(Object.entries($defs).map(([id, each]) => [id, this.#nameOf(id, each, io)]))
    for (const [id, { id: _id, ...each }] of Object.entries($defs)) this.all[names.get(id) ?? id] = renamed(each, names)
    return renamed(rest, names)
  }

  #nameOf(id: string, { id: _, ...schema }: Json, io: 'input' | 'output'): string {
    const known = this.all[id]
    const same = known === undefined || JSON.stringify(known) === JSON.stringify(renamed(schema, new Map()))
    return same || io === 'output' ? id : `${id}Input`
  }
}

/** References to `$defs` become references to components. */
function renamed(schema: Json, names: ReadonlyMap<string, string>): Json {
  return JSON.parse(JSON.stringify(schema), (key, value: unknown) => {
    if (key !== '$ref' || typeof value !== 'string') return value
    const id = value.slice(value.lastIndexOf('/') + 1)
    return value.startsWith('#/$defs/') ? `#/components/schemas/${names.get(id) ?? id}` : value
  }) as Json
}

const securitySchemes: Record<Audience, Json> = {
  users: {
    key: { type: 'http', scheme: 'bearer', description: 'An API key: `tm_live_…` or `tm_test_…`' },
    xApiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: 'The same key' },
  },
  operators: {
    operator: { type: 'http', scheme: 'bearer', description: 'An operator key with the scope that the route requires' },
  },
}

function describe(operation: Operation, named: NamedSchemas): Json {
  const { id, tag, summary, description, scope } = operation
  const parameters = [...pathParameters(operation), ...queryParameters(operation)]
  const texts = [description, scope && `Requires the scope \`${scope}\`.`].filter((text) => text !== undefined)
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(texts.length > 0 && { description: texts.join('\n\n') }),
    security: security(operation),
    ...(parameters.length > 0 && { parameters }),
    ...requestBody(operation, named),
    responses: responses(operation, named),
  }
}

function security({ auth }: Operation): Json[] {
  if (auth === 'none') return []
  return auth === 'key' ? [{ key: [] }, { xApiKey: [] }] : [{ [auth]: [] }]
}

/** The path with the names of its parameters in snake_case. */
export function documentedPath({ path }: Operation): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => `{${snakeName(name)}}`)
}

/** The parameters in the path, each required. */
export function pathParameters({ path, params = {} }: Operation): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => {
    const { $schema: _, description, ...schema } = params[name] ? jsonSchema(params[name], 'input') : { type: 'string' }
    return {
      name: snakeName(name),
      in: 'path',
      required: true,
      ...(description !== undefined && { description }),
      schema,
    }
  })
}

/** A query arrives as text. A number's bounds are those of the schema that reads the text. */
export function queryParameters({ query, snake }: Operation): Json[] {
  if (!query) return []
  const asInput = (jsonSchema(query, 'input').properties ?? {}) as Record<string, Json>
  const asOutput = (jsonSchema(query, 'output').properties ?? {}) as Record<string, Json>
  return Object.keys(asInput).map((name) => {
    const { description, ...schema } = asOutput[name] ?? asInput[name] ?? {}
    return {
      name: snake ? snakeName(name) : name,
      in: 'query',
      required: false,
      ...(description !== undefined && { description }),
      schema,
    }
  })
}

function requestBody(operation: Operation, named: NamedSchemas): Json {
  const { body, snake, sealed } = operation
  if (!body && !sealed) return {}
  const schema = body ? named.add(body, 'input', snake) : { type: 'object' }
  const example = operation.example ?? bodyExample(operation)
  const content = { schema, ...(example !== undefined && { example }) }
  return { requestBody: { required: true, content: { 'application/json': content } } }
}

/** An example of the body from the examples of its fields; undefined unless the schema accepts it. */
function bodyExample(operation: Operation): unknown {
  const { body, snake } = operation
  const example = body && exampleOf(bodySchema(operation) ?? {})
  return body?.safeParse(snake ? toCamel(example) : example).success ? example : undefined
}

function exampleOf({ examples, properties, required = [] }: Json): unknown {
  if (Array.isArray(examples) && examples.length > 0) return examples[0]
  if (typeof properties !== 'object' || properties === null) return undefined
  const fields = Object.entries(properties as Record<string, Json>).map(([name, each]) => [name, exampleOf(each)])
  const known = fields.filter(([, value]) => value !== undefined)
  return known.length > 0 || (required as unknown[]).length === 0 ? Object.fromEntries(known) : undefined
}

/** The schema of a route's body, if it has one. */
export function bodySchema({ body, snake, sealed }: Operation): Json | undefined {
  if (sealed) return { type: 'object' }
  const schema = body && plainSchema(body, 'input')
  return schema && snake ? snakeSchema(schema) : schema
}

/** The schema of a route's answer, if it has one. */
export function answerSchema({ answer, snake }: Operation): Json | undefined {
  if (typeof answer === 'string') return undefined
  const schema = plainSchema(answer, 'output')
  return snake ? wireSchema(schema, 'output') : schema
}

function responses(operation: Operation, named: NamedSchemas): Json {
  const { answer, status = 200, streams, anthropic, streamEvent, headers = {}, otherAnswers = [] } = operation
  const answers: Record<string, DescribedAnswer> = {}
  const add = (code: number, description: string, content: Content) => {
    const known = answers[code]
    answers[code] = {
      description: known?.description ?? description,
      headers: named.addHeaders(code === status ? { ...everyAnswer, ...headers } : everyAnswer),
      content: merged(known?.content, content),
    }
    if (Object.keys(answers[code]?.content ?? {}).length === 0) delete answers[code]?.content
  }
  const main = streams ? streamedAnswer : 'Success'
  add(status, main, contentOf({ status, answer }, operation, named))
  if (streams) {
    const schema = streamEvent ? named.add(streamEvent, 'output') : { type: 'string' }
    add(status, main, { 'text/event-stream': { schema } })
  }
  for (const other of otherAnswers)
    add(other.status, other.description ?? 'Success', contentOf(other, operation, named))
  const refusal = named.add(refusalOf(anthropic), 'output')
  return {
    ...answers,
    default: {
      description: 'Error. `code` identifies the problem, `message` gives advice, `param` names the invalid field.',
      headers: named.addHeaders({ ...everyAnswer, ...everyRefusal }),
      content: { 'application/json': { schema: refusal } },
    },
  }
}

/** The schema of a content type `text/event-stream` is that of one event's data. */
const streamedAnswer =
  'The answer, complete or as a stream of server-sent events. The schema of `text/event-stream` describes the data of ' +
  'one event. An error that came after the status was sent replaces the answer, or ends the stream.'

type Content = Record<string, { schema: Json }>

interface DescribedAnswer {
  description: string
  headers: Json
  content?: Content
}

/** Two schemas of one status and content type become alternatives. */
function merged(known: Content | undefined, more: Content): Content {
  const content = { ...known }
  for (const [type, { schema }] of Object.entries(more)) {
    const before = content[type]
    content[type] = { schema: before ? { anyOf: [before.schema, schema] } : schema }
  }
  return content
}

function refusalOf(anthropic: Operation['anthropic']): z.ZodType {
  if (anthropic === 'by header') return z.union([Refusal, AnthropicRefusal])
  return anthropic ? AnthropicRefusal : Refusal
}

const everyAnswer = { 'x-request-id': 'The id of the request, to report to the operator. Also as `request-id`.' }
const everyRefusal = {
  'retry-after': 'Seconds to wait before a retry, 1 to 60. Present if waiting can help.',
  'x-should-retry': '`false` if a retry cannot help.',
}

function contentOf({ answer, type }: OtherAnswer, { path, snake }: Operation, named: NamedSchemas): Content {
  if (answer === 'nothing') return {}
  if (answer === 'text')
    return { [type ?? (path.startsWith('/docs') ? 'text/html' : 'text/plain')]: { schema: { type: 'string' } } }
  const schema = answer === 'object' ? { type: 'object' } : named.add(answer, 'output', snake)
  return { [type ?? 'application/json']: { schema } }
}

/** Without components, for the reference page. */
function plainSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, id: __, $defs = {}, ...rest } = jsonSchema(schema, io) as Json & { $defs?: Record<string, Json> }
  const inline = (each: unknown, inside: readonly string[]): unknown => {
    if (Array.isArray(each)) return each.map((item) => inline(item, inside))
    if (typeof each !== 'object' || each === null) return each
    const { $ref, id, ...others } = each as Json & { $ref?: string }
    // The id of a schema is text; a field with the name "id" is a schema.
    const fields = typeof id === 'object' ? { ...others, id } : others
    const name = $ref?.replace('#/$defs/', '') ?? ''
    if ($ref !== undefined && inside.includes(name)) return { type: 'object' }
    const target = $ref === undefined ? {} : (inline($defs[name], [...inside, name]) as Json)
    return {
      ...target,
      ...Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, inline(value, inside)])),
    }
  }
  return inline(rest, []) as Json
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  return z.toJSONSchema(schema, { io, unrepresentable: 'any', reused: 'inline' })
}

/** The schema of a body or an answer of a route with snake_case names. */
function wireSchema(schema: Json, io: 'input' | 'output'): Json {
  const snake = snakeSchema(schema)
  return io === 'output' ? (schemaWithDollars(snake) as Json) : snake
}

/** Converts the names of fields to snake_case at every depth. */
function snakeSchema(schema: Json): Json {
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => {
      if (key === 'required') return [key, (value as string[]).map(snakeName)]
      if (key === 'default' || key === 'const' || key === 'examples') return [key, toSnake(value)]
      if (key === 'properties')
        return [
          key,
          Object.fromEntries(Object.entries(value as Json).map(([name, each]) => [snakeName(name), snakeAll(each)])),
        ]
      return [key, snakeAll(value)]
    }),
  )
}

function snakeAll(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeAll)
  return typeof value === 'object' && value !== null ? snakeSchema(value as Json) : value
}
