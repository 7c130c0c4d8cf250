/** The OpenAPI 3.1 document, generated from the routes' own schemas. */
import { z } from 'zod'
import { AnthropicRefusal, ChatCompletionChunk, Refusal } from '../http/response-schemas.ts'
import { type Operation, tags } from '../http/route.ts'
import { toSnake } from '../http/snake-case.ts'
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
  const paths: Record<string, Json> = {}
  for (const operation of own) {
    const path = paths[operation.path] ?? {}
    path[operation.method] = describe(operation)
    paths[operation.path] = path
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
    components: {
      securitySchemes: securitySchemes[audience],
      schemas: {
        Refusal: schemaOf(Refusal, 'output'),
        ...(audience === 'users' && {
          AnthropicRefusal: schemaOf(AnthropicRefusal, 'output'),
          ChatCompletionChunk: schemaOf(ChatCompletionChunk, 'output'),
        }),
      },
    },
  }
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

function describe(operation: Operation): Json {
  const { tag, summary, description, scope } = operation
  const parameters = [...pathParameters(operation), ...queryParameters(operation)]
  const texts = [description, scope && `Requires the scope \`${scope}\`.`].filter((text) => text !== undefined)
  return {
    operationId: operation.id,
    tags: [tag],
    summary,
    ...(texts.length > 0 && { description: texts.join('\n\n') }),
    security: security(operation),
    ...(parameters.length > 0 && { parameters }),
    ...requestBody(operation),
    responses: responses(operation),
  }
}

function security({ auth }: Operation): Json[] {
  if (auth === 'none') return []
  return auth === 'key' ? [{ key: [] }, { xApiKey: [] }] : [{ [auth]: [] }]
}

function pathParameters({ path }: Operation): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

export function queryParameters({ query }: Operation): Json[] {
  if (!query) return []
  const { properties = {} } = schemaOf(query, 'input') as { properties?: Record<string, Json> }
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: false,
    ...(description !== undefined && { description }),
    schema,
  }))
}

function requestBody(operation: Operation): Json {
  const schema = bodySchema(operation)
  return schema ? { requestBody: { required: true, content: { 'application/json': { schema } } } } : {}
}

/** The schema of a route's body, if it has one. */
export function bodySchema({ body, snake, sealed }: Operation): Json | undefined {
  if (sealed) return { type: 'object' }
  const schema = body && schemaOf(body, 'input')
  return schema && snake ? snakeSchema(schema) : schema
}

/** The schema of a route's answer, if it has one. */
export function answerSchema({ answer }: Operation): Json | undefined {
  return typeof answer === 'string' ? undefined : schemaOf(answer, 'output')
}

function responses(operation: Operation): Json {
  const { answer, status = 200, streams, anthropic, path } = operation
  const content: Json = {}
  if (answer === 'object') content['application/json'] = { schema: { type: 'object' } }
  else if (answer === 'text')
    content[path.startsWith('/docs') ? 'text/html' : 'text/plain'] = { schema: { type: 'string' } }
  else if (answer !== 'nothing') content['application/json'] = { schema: schemaOf(answer, 'output') }
  if (streams) {
    const chunk = path === '/v1/chat/completions'
    const schema = chunk ? { $ref: '#/components/schemas/ChatCompletionChunk' } : { type: 'string' }
    content['text/event-stream'] = { schema }
  }
  const refusal = { $ref: `#/components/schemas/${anthropic ? 'AnthropicRefusal' : 'Refusal'}` }
  return {
    [String(status)]: {
      description: streams ? 'The answer, complete or as a stream of server-sent events' : 'Success',
      ...(answer !== 'nothing' && { content }),
    },
    ...(operation.auth !== 'none' && {
      default: {
        description: 'Error. `code` identifies the problem, `message` gives advice, `param` names the invalid field.',
        content: { 'application/json': { schema: refusal } },
      },
    }),
  }
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any', reused: 'inline' })
  return rest
}

/** Converts field names in `properties` and `required` to snake_case, for a tenant's own routes. */
function snakeSchema(schema: Json): Json {
  const properties = schema.properties as Record<string, Json> | undefined
  const required = schema.required as string[] | undefined
  return {
    ...schema,
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, each]) => [snakeName(name), snakeSchema(each)]),
      ),
    }),
    ...(required && { required: required.map(snakeName) }),
  }
}

function snakeName(name: string): string {
  return Object.keys(toSnake({ [name]: 0 }) as object)[0] ?? name
}
