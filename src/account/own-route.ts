/** Declares a route for a tenant's own keys. The key alone names the tenant. */
import type { MiddlewareHandler } from 'hono'
import type { z } from 'zod'
import type { AdminContext, AdminEnv } from '../admin/context.ts'
import { audited } from '../admin/guard.ts'
import { authenticate } from '../auth/authenticate.ts'
import { settings } from '../config.ts'
import { type Answer, type Operation, type PathSchemas, type Route, type RouteInput, routesIn } from '../http/route.ts'
import { accept, tenantStub } from '../tenant/stub.ts'

const ownKey: MiddlewareHandler<AdminEnv> = async (context, next) => {
  const { tenantId, ...key } = await authenticate(context.req.raw.headers, await settings(context.env))
  context.set('caller', { tenantId, by: { kind: 'key', ...key } })
  await next()
}

/** Audits changes by valid keys only. */
const auditedChanges: MiddlewareHandler<AdminEnv> = async (context, next) => {
  if (context.req.method === 'GET') return next()
  const { tenantId, by } = context.get('caller')
  accept(await tenantStub(context.env, tenantId).identify(by))
  await audited(context, { id: `key:${tenantId}.${by.keyId}`, name: 'a key of the tenant', tenantId }, next)
}

type OwnDeclaration<Path, Query, Body> = Omit<
  Operation,
  'path' | 'params' | 'query' | 'body' | 'auth' | 'tag' | 'snake'
> &
  PathSchemas<Path> & {
    path: Path
    query?: Query
    body?: Body
  }

const declare = routesIn<AdminEnv>()

export function ownRoute<
  const Path extends string,
  Query extends z.ZodType | undefined = undefined,
  Body extends z.ZodType | undefined = undefined,
>(
  declared: OwnDeclaration<Path, Query, Body>,
  handle: (context: AdminContext, input: RouteInput<Path, Query, Body>) => Answer | Promise<Answer>,
): Route {
  const operation = { ...declared, auth: 'key', tag: 'Your keys and usage', snake: true } as const
  return declare(operation, handle, [ownKey, auditedChanges])
}
