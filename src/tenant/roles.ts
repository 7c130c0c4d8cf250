/**
 * What a key may do, by its role. Each role may all that the one below it may:
 *
 *   viewer   reads the tenant's usage and limits
 *   member   asks the model; sees, rotates and revokes itself
 *   admin    lists, creates, changes, rotates and revokes keys of roles up to its own
 *   owner    the same, for every key of the tenant
 *
 * A member creates no keys: a key has limits and a budget of its own, so one that made others would escape its own.
 */
import type { Role } from './store.ts'

export type Right = 'read-usage' | 'ask' | 'own-key' | 'all-keys'

const rank: Record<Role, number> = { viewer: 0, member: 1, admin: 2, owner: 3 }
const needed: Record<Right, Role> = { 'read-usage': 'viewer', ask: 'member', 'own-key': 'member', 'all-keys': 'admin' }

export function may(role: Role, right: Right): boolean {
  return reaches(role, needed[right])
}

/** Whether a key of `role` may give, change or take what belongs to `other`: never what is above its own. */
export function reaches(role: Role, other: Role): boolean {
  return rank[role] >= rank[other]
}

export function roleNeeded(right: Right): Role {
  return needed[right]
}
