import type { Scope } from '../auth/operator-key.ts'
import { GatewayError } from '../http/errors.ts'
import type { AdminContext } from './context.ts'

/** For routes that need more than one scope. */
export function requireScope(context: AdminContext, scope: Scope): void {
  if (context.get('operator').scopes.includes(scope)) return
  throw new GatewayError('permission_denied', `The operator key lacks the scope ${scope}. Use a key that has it.`)
}
