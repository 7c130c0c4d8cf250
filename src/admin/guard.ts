/**
 * Authenticates operators and audits every change. The audit row is written before the change and completed after it;
 * if the row cannot be written, the change is not made.
 */
import type { MiddlewareHandler } from 'hono'
import { matchedRoutes } from 'hono/route'
import { presentedKey } from '../auth/api-key.ts'
import { readAnyOperatorKey } from '../auth/mac-keys.ts'
import { type Scope, scopes } from '../auth/operator-key.ts'
import { constantTimeEqual, sha256Hex } from '../auth/secret.ts'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import type { AdminBindings, AdminContext, AdminEnv, Operator } from './context.ts'

export const operatorOnly: MiddlewareHandler<AdminEnv> = async (context, next) => {
  const operator = await findOperator(context.req.raw.headers, context.env)
  if (!operator) {
    const message = 'This route requires an operator key. Send it as "authorization: Bearer <key>".'
    throw new GatewayError('invalid_api_key', message)
  }
  context.set('operator', operator)
  await next()
}

export function needs(scope: Scope): MiddlewareHandler<AdminEnv> {
  return async (context, next) => {
    if (!context.get('operator').scopes.includes(scope)) {
      throw new GatewayError('permission_denied', `The operator key lacks the scope ${scope}. Use a key that has it.`)
    }
    await next()
  }
}

/** For all routes that change something. Reads are not audited. */
export const auditedChanges: MiddlewareHandler<AdminEnv> = async (context, next) => {
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
  if (req.method === 'GET' || req.method === 'HEAD' || !route) return next()
  const requestId = context.get('requestId')
  const now = Date.now()
  const begin = env.DB.prepare(
    'INSERT INTO audit (request_id, at, actor, actor_name, action, tenant_id) VALUES (?, ?, ?, ?, ?, ?)',
  )
  const forget = env.DB.prepare(
    'DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < ? ORDER BY seq LIMIT 100)',
  )
  await env.DB.batch([
    begin.bind(requestId, now, actor.id, actor.name, `${route.method} ${route.path}`, actor.tenantId),
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

async function findOperator(headers: Headers, env: AdminBindings): Promise<Operator | undefined> {
  const { operatorKeyHashes, macKeys } = await settings(env)
  const presented = presentedKey(headers) ?? ''
  const digest = await sha256Hex(presented)
  if (operatorKeyHashes.some((hash) => constantTimeEqual(digest, hash)))
    return { keyId: 'first', name: 'first key', scopes }
  const key = await readAnyOperatorKey(presented, macKeys)
  if (!key) return undefined
  const row = await env.DB.prepare('SELECT * FROM operator_keys WHERE key_id = ?').bind(key.keyId).first<OperatorRow>()
  if (!row || !constantTimeEqual(row.secret_hash, key.secretHash)) return undefined
  if (row.revoked_at !== null || (row.expires_at !== null && row.expires_at <= Date.now())) return undefined
  const granted: unknown = JSON.parse(row.scopes)
  return {
    keyId: row.key_id,
    name: row.name,
    scopes: scopes.filter((scope) => Array.isArray(granted) && granted.includes(scope)),
  }
}

export interface OperatorRow {
  key_id: string
  name: string
  prefix: string
  secret_hash: string
  scopes: string
  created_at: number
  expires_at: number | null
  revoked_at: number | null
}

function tenantInPath(path: string): string | null {
  return /^\/admin\/tenants\/([^/]+)/.exec(path)?.[1]?.slice(0, 64) ?? null
}

function json(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value)
}
