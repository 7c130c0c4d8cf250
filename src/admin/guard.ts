/**
 * Authenticates operators and audits every change. The audit row is written before the change and completed after it;
 * if the row cannot be written, the change is not made.
 */
import type { MiddlewareHandler } from 'hono'
import { matchedRoutes } from 'hono/route'
import type { z } from 'zod'
import { cleanText } from '../../backends/model/clean-text.ts'
import { presentedKey } from '../auth/api-key.ts'
import { clientAddress } from '../auth/client-address.ts'
import { readAnyOperatorKey } from '../auth/mac-keys.ts'
import { type Scope, scopes } from '../auth/operator-key.ts'
import { constantTimeEqual, sha256Hex } from '../auth/secret.ts'
import { settings } from '../config.ts'
import { GatewayError, logError } from '../http/errors.ts'
import { checkParameters, namingInSnake } from '../http/parse.ts'
import { noSuchTenant, tenantStub } from '../tenant/stub.ts'
import type { AdminContext, AdminEnv, Operator } from './context.ts'
import { findOperatorRow, isValidOperator, scopesOf } from './operator-rows.ts'
import { requireScope } from './require-scope.ts'
import { type FailedSignIns, failuresPerMinuteMax, SignInFailures } from './sign-in-failures.ts'

export const operatorOnly: MiddlewareHandler<AdminEnv> = async (context, next) => {
  const operator = await findOperator(context)
  if (!operator) {
    const message = 'This route requires an operator key. Send it as "authorization: Bearer <key>".'
    throw new GatewayError('invalid_api_key', message)
  }
  context.set('operator', operator)
  await next()
}

export function needs(scope: Scope): MiddlewareHandler<AdminEnv> {
  return async (context, next) => {
    requireScope(context, scope)
    await next()
  }
}

/** Refuses a path of the wrong form, and a tenant that does not exist, before the body is read. */
export function knownTenant(params: Readonly<Record<string, z.ZodType>>): MiddlewareHandler<AdminEnv> {
  return async (context, next) => {
    await namingInSnake(async () => {
      checkParameters(context.req.param(), params)
      if (!(await tenantStub(context.env, context.req.param('tenantId') ?? '').listing())) throw noSuchTenant()
    })
    await next()
  }
}

/** For all routes that change something. Reads are not audited. */
export const auditedChanges: MiddlewareHandler<AdminEnv> = async (context, next) => {
  if (context.req.method === 'GET' || context.req.method === 'HEAD') return next()
  return auditedAlways(context, next)
}

/** For reads that leave the gateway with everything of a tenant. */
export const auditedAlways: MiddlewareHandler<AdminEnv> = async (context, next) => {
  const { keyId, name } = context.get('operator')
  await audited(context, { id: `operator:${keyId}`, name, tenantId: tenantInPath(context.req.path) }, next)
}

interface Actor {
  id: string
  name: string
  tenantId: string | null
}

/** Inserts the audit row, runs `next`, and completes the row. */
export async function audited(context: AdminContext, actor: Actor, next: () => Promise<void>): Promise<void> {
  const { env, req } = context
  const route = matchedRoutes(context).find(({ method }) => method === req.method)
  if (!route) return next()
  const requestId = context.get('requestId')
  const now = Date.now()
  const { addressHeader } = await settings(env)
  const address = clientAddress(req.raw.headers, addressHeader)
  const begin = env.DB.prepare(
    'INSERT INTO audit (request_id, at, actor, actor_name, action, tenant_id, address) VALUES (?, ?, ?, ?, ?, ?, ?)',
  )
  const forget = env.DB.prepare(
    'DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < ? ORDER BY seq LIMIT 100)',
  )
  await env.DB.batch([
    begin.bind(
      ...[requestId, now, actor.id, actor.name, `${route.method} ${route.path}`, actor.tenantId],
      address && cleanText(address, addressCharactersMax),
    ),
    forget.bind(now - auditKeptMs),
  ])
  context.set('note', {})
  await next()
  const { tenantId, target, before, after } = context.get('note')
  const end = env.DB.prepare(
    `UPDATE audit SET status = ?, tenant_id = coalesce(?, tenant_id), target = ?, before = ?, after = ? WHERE request_id = ?`,
  )
  await end.bind(context.res.status, tenantId ?? null, target ?? null, json(before), json(after), requestId).run()
}

/** Longer than a year, so that a yearly review finds every row. */
const auditKeptMs = 400 * 86_400_000

/** Undefined without a key. Records a failed sign-in, and throws if there were too many from its address. */
async function findOperator(context: AdminContext): Promise<Operator | undefined> {
  const { env, req } = context
  const { operatorKeyHashes, macKeys, addressHeader } = await settings(env)
  const presented = presentedKey(req.raw.headers)
  if (presented === undefined) return undefined
  const digest = await sha256Hex(presented)
  if (operatorKeyHashes.some((hash) => constantTimeEqual(digest, hash)))
    return { keyId: 'first', name: 'first key', scopes, expiresAt: null }
  const key = await readAnyOperatorKey(presented, macKeys)
  const row = key && (await findOperatorRow(env.DB, key.keyId))
  if (row && isValidOperator(row, key.secretHash, Date.now()))
    return { keyId: row.key_id, name: row.name, scopes: scopesOf(row), expiresAt: row.expires_at }
  recordFailure(context, clientAddress(req.raw.headers, addressHeader))
  return undefined
}

const failures = new SignInFailures()

function recordFailure(context: AdminContext, address: string | null): void {
  const { first, tooMany } = failures.count(address && cleanText(address, addressCharactersMax), Date.now())
  if (first) context.executionCtx.waitUntil(writeSoon(context.env.DB))
  if (!tooMany) return
  const message = `More than ${failuresPerMinuteMax} operator keys from your address were refused in this minute. Check the key, and try again in a minute.`
  throw new GatewayError('rate_limit_exceeded', message, { retryAfterMs: 60_000 })
}

/** Failures that arrive meanwhile are written together. */
async function writeSoon(db: D1Database): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, writeAfterMs))
  await writeFailures(db, failures.take(Date.now()))
}

const writeAfterMs = 1_000

async function writeFailures(db: D1Database, rows: FailedSignIns[]): Promise<void> {
  const add = db.prepare(
    `INSERT INTO audit (request_id, at, actor, actor_name, action, status, address, after)
      VALUES (?1, ?2, 'unknown', 'unknown', 'failed sign-in', 401, ?3, json_object('times', ?4))
      ON CONFLICT (request_id) DO UPDATE SET after = json_object('times', after ->> 'times' + ?4)`,
  )
  const bound = rows.map(({ hour, address, times }) =>
    add.bind(`sign-in:${hour}:${address ?? ''}`, hour, address, times),
  )
  await db.batch(bound).catch((error: unknown) => logError('cannot record failed sign-ins', error))
}

const addressCharactersMax = 64

function tenantInPath(path: string): string | null {
  return /^\/admin\/tenants\/([^/]+)/.exec(path)?.[1]?.slice(0, 64) ?? null
}

function json(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value)
}
