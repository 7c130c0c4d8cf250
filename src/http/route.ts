/**
 * A route declares itself once: method, path, permissions, schemas, summary and handler. The gateway's routing, its
 * OpenAPI documents, the reference and `405` answers are all derived from these declarations.
 */
import type { Context, Env, Hono, MiddlewareHandler } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { z } from 'zod'
import { withDollars } from './dollars.ts'
import { GatewayError } from './errors.ts'
import { checkParameters, namingInSnake, parse, readBody } from './parse.ts'
import { toCamel, toSnake } from './snake-case.ts'

export const tags = {
  Chat: 'Send requests to the model. All dialects share the same models, limits and prices.',
  Models: 'List and retrieve models.',
  'Your keys and usage': 'For a tenant’s own keys, depending on their role. Field names are snake_case.',
  Tenants: 'For operators. Each route names the scope that it requires.',
  Keys: 'A tenant’s keys, for operators.',
  'Plans and prices': 'For operators.',
  Money: 'Credits and corrections. Amounts are integer nano-dollars. Each id is posted once.',
  Alerts: 'Events that operators should know of, sent to their endpoints as signed webhooks.',
  Workers: 'Enrolment and state of GPU workers, and refused receipts.',
  Operators: 'Operator keys, and the audit log of operators’ changes.',
  Health: 'Check that the gateway can serve requests.',
  Documents: 'The documentation, for people and for programs.',
  Internal: 'Messages between the gateway and its workers, signed with worker keys.',
} as const
export type Tag = keyof typeof tags

/** A declaration without its handler. */
export interface Operation {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** Parameters are in braces. */
  path: string
  /** The path as Hono's router needs it, where braces do not suffice. */
  pattern?: string
  /** The name of the operation in generated clients, such as `createPlan`. */
  id: string
  tag: Tag
  /** Begins with a verb. */
  summary: string
  /** Facts that the schemas do not express. */
  description?: string
  auth: 'key' | 'operator' | 'worker' | 'none'
  /** The scope that an operator's key needs. */
  scope?: string
  /** By the names in the path. A value that its schema refuses returns 404. */
  params?: Readonly<Record<string, z.ZodType>> | undefined
  query?: z.ZodType | undefined
  body?: z.ZodType | undefined
  /** A body that the schema accepts. */
  example?: unknown
  /** The handler reads query and body itself, with the declared schemas. */
  readsItself?: boolean
  /**
   * Field names are snake_case on the wire and camelCase in schemas and handlers. Bodies and queries may have either.
   */
  snake?: boolean
  /** A signed body that another schema reads. */
  sealed?: boolean
  /** Status of a success; 200 unless declared. */
  status?: number
  answer: AnswerSchema
  /** Answers with another status or content type. */
  otherAnswers?: readonly OtherAnswer[]
  /** The answer is a stream of server-sent events if the body requests it. */
  streams?: boolean
  /** One event of such a stream. */
  streamEvent?: z.ZodType
  /** Refusals have Anthropic's shape; with `by header`, if the request has `anthropic-version`. */
  anthropic?: boolean | 'by header'
  /** Headers of a success on which a client may rely, with their descriptions. */
  headers?: Readonly<Record<string, string>>
}

type AnswerSchema = z.ZodType | 'object' | 'nothing' | 'text'

export interface OtherAnswer {
  status: number
  type?: string
  answer: AnswerSchema
  description?: string
}

export interface Route extends Operation {
  guards: readonly MiddlewareHandler[]
  handle: (context: Context, input: never) => Answer | Promise<Answer>
}

/** A value is sent as JSON with the declared status. */
export type Answer = Response | object

type Parsed<Schema> = Schema extends z.ZodType ? z.infer<Schema> : undefined

/** The parameters in braces of a path. */
type PathParameters<Path> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? { [Key in Name]: string } & PathParameters<Rest>
  : unknown

/** Declares a schema for each parameter of a path that has some. */
export type PathSchemas<Path> = Path extends `${string}{${string}`
  ? { params: { [Name in keyof PathParameters<Path>]: z.ZodType<string> } }
  : { params?: never }

export interface RouteInput<Path, Query, Body> {
  params: PathParameters<Path>
  query: Parsed<Query>
  body: Parsed<Body>
}

type Declared<Path, Query, Body> = Omit<Operation, 'path' | 'query' | 'body'> & {
  path: Path
  query?: Query
  body?: Body
}

/** Returns the function that declares routes for one kind of context. */
export function routesIn<HonoEnv extends Env>() {
  return <
    const Path extends string,
    Query extends z.ZodType | undefined = undefined,
    Body extends z.ZodType | undefined = undefined,
  >(
    declared: Declared<Path, Query, Body>,
    handle: (context: Context<HonoEnv>, input: RouteInput<Path, Query, Body>) => Answer | Promise<Answer>,
    guards: readonly MiddlewareHandler<HonoEnv>[] = [],
  ): Route => ({
    ...(declared as unknown as Operation),
    guards: guards as readonly MiddlewareHandler[],
    handle: handle as unknown as Route['handle'],
  })
}

/** Adds the routes, and a `405` with `allow` for every other method on their paths. */
export function mount<HonoEnv extends Env>(app: Hono<HonoEnv>, routes: readonly Route[]): void {
  for (const route of routes) {
    app.on(route.method.toUpperCase(), [patternOf(route)], ...route.guards, (context) => perform(route, context))
  }
  for (const [pattern, own] of Map.groupBy(routes, patternOf)) {
    const methods = own.map(({ method }) => method.toUpperCase())
    const allow = [...(methods.includes('GET') ? ['HEAD'] : []), ...methods].sort().join(', ')
    app.all(pattern, ({ req }): never => {
      const message = `${req.method.slice(0, 20)} is not supported on this path. Use ${allow.replaceAll(', ', ' or ')}.`
      throw new GatewayError('method_not_allowed', message, { headers: [['allow', allow]] })
    })
  }
}

function patternOf({ path, pattern }: Operation): string {
  return pattern ?? path.replace(/\{(\w+)\}/g, ':$1')
}

function perform(route: Route, context: Context): Promise<Response> {
  return route.snake ? namingInSnake(() => answer(route, context)) : answer(route, context)
}

async function answer(route: Route, context: Context): Promise<Response> {
  const { params = {}, query, body, readsItself, snake, status } = route
  checkParameters(context.req.param(), params)
  const fieldsOf = (value: unknown) => (snake ? toCamel(value) : value)
  const input = {
    params: context.req.param(),
    query: query && !readsItself ? parse(fieldsOf(context.req.query()), query) : undefined,
    body: body && !readsItself ? parse(fieldsOf(await readBody(context.req.raw)), body) : undefined,
  }
  const answered = await route.handle(context, input as never)
  if (answered instanceof Response) return answered
  return context.json(snake ? withDollars(toSnake(answered)) : answered, (status ?? 200) as ContentfulStatusCode)
}
