/** Declares a route for operators. Its scope is both documented and enforced. */

import type { z } from 'zod'
import type { Scope } from '../auth/operator-key.ts'
import { type Answer, type Operation, type PathSchemas, type Route, type RouteInput, routesIn } from '../http/route.ts'
import type { AdminContext, AdminEnv } from './context.ts'
import { auditedAlways, auditedChanges, knownTenant, needs, operatorOnly } from './guard.ts'

type OperatorDeclaration<Path, Query, Body> = Omit<
  Operation,
  'path' | 'params' | 'query' | 'body' | 'auth' | 'scope' | 'snake'
> &
  PathSchemas<Path> & {
    path: Path
    scope: Scope
    /** The route creates the tenant in its path, so the tenant may be unknown. */
    newTenant?: boolean
    /** A read that the audit log records, like a change. */
    audited?: boolean
    query?: Query
    body?: Body
  }

const declare = routesIn<AdminEnv>()

export function operatorRoute<
  const Path extends string,
  Query extends z.ZodType | undefined = undefined,
  Body extends z.ZodType | undefined = undefined,
>(
  declared: OperatorDeclaration<Path, Query, Body>,
  handle: (context: AdminContext, input: RouteInput<Path, Query, Body>) => Answer | Promise<Answer>,
): Route {
  const ofTenant = declared.path.includes('{tenantId}') && !declared.newTenant
  const guards = [operatorOnly, declared.audited ? auditedAlways : auditedChanges, needs(declared.scope)]
  if (ofTenant) guards.push(knownTenant(declared.params ?? {}))
  return declare({ ...declared, auth: 'operator', snake: true }, handle, guards)
}
