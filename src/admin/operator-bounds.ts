/** An operator key neither creates, changes, takes over nor revokes a key that is wider than itself. Pure. */
import type { Scope } from '../auth/operator-key.ts'
import { GatewayError } from '../http/errors.ts'

interface OperatorBounds {
  scopes: readonly Scope[]
  /** Unix milliseconds; null for never. */
  expiresAt: number | null
}

/** Refuses scopes that `own` lacks, and an expiry after its own. */
export function refuseWider(own: OperatorBounds, wanted: OperatorBounds): void {
  const scope = lacking(own, wanted.scopes)
  if (scope !== undefined) {
    const message = `scopes: your key lacks ${scope} and cannot grant it. Leave it out, or use a key that has it.`
    throw new GatewayError('permission_denied', message, { param: 'scopes' })
  }
  if (own.expiresAt === null || (wanted.expiresAt !== null && wanted.expiresAt <= own.expiresAt)) return
  const message = `expiresAt: must be at most ${own.expiresAt}, when your own key expires. Use an earlier time, or a key that lasts longer.`
  throw new GatewayError('permission_denied', message, { param: 'expiresAt' })
}

/** Refuses to touch a key that has a scope which `own` lacks. */
export function refuseTouching(own: OperatorBounds, scopes: readonly Scope[]): void {
  const scope = lacking(own, scopes)
  if (scope === undefined) return
  throw new GatewayError(
    'permission_denied',
    `This key has the scope ${scope}, and yours lacks it. Use a key that has it.`,
  )
}

function lacking(own: OperatorBounds, scopes: readonly Scope[]): Scope | undefined {
  return scopes.find((scope) => !own.scopes.includes(scope))
}
