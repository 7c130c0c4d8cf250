/** Shared by the operator's routes: the caller, the audit note, and readers for bodies, ids and pages. */
import type { Context } from 'hono'
import type { AlertsBinding } from '../alerts/stub.ts'
import type { Scope } from '../auth/operator-key.ts'
import type { ConfigVariables } from '../config.ts'
import type { FleetBinding } from '../fleet/client.ts'
import type { ResponsesBinding } from '../responses/stub.ts'
import type { Requester } from '../tenant/permissions.ts'
import type { TenantBinding } from '../tenant/stub.ts'

export interface Operator {
  keyId: string
  name: string
  scopes: readonly Scope[]
  /** Unix milliseconds; null for never. */
  expiresAt: number | null
}

interface Caller {
  tenantId: string
  by: Requester & { kind: 'key' }
}

/** The audit log's record of a change. It must not contain secrets. */
export interface AuditNote {
  tenantId?: string
  target?: string
  before?: unknown
  after?: unknown
}

export interface AdminBindings extends ConfigVariables, FleetBinding, TenantBinding, ResponsesBinding, AlertsBinding {
  DB: D1Database
}

export interface AdminEnv {
  Bindings: AdminBindings
  Variables: {
    requestId: string
    /** On the operator's routes. */
    operator: Operator
    /** On a tenant's own routes. */
    caller: Caller
    note: AuditNote
  }
}

export type AdminContext = Context<AdminEnv>

export function note(context: AdminContext, more: AuditNote): void {
  context.set('note', { ...context.get('note'), ...more })
}
