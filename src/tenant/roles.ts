/**
 * Permissions of a key by role. Each role includes the permissions of the roles before it:
 *
 *   viewer   reads the tenant's usage and limits
 *   member   sends requests to the model; shows, rotates and revokes itself
 *   admin    lists, creates, changes, rotates and revokes keys of roles up to its own; manages alerts;
 *            buys credit
 *   owner    the same, for every key of the tenant
 *
 * A member cannot create keys: with new keys it could escape its own limits and budget.
 */
export const roles = ['owner', 'admin', 'member', 'viewer'] as const
export type Role = (typeof roles)[number]

export type Right = 'read-usage' | 'ask' | 'own-key' | 'all-keys' | 'alerts' | 'billing'

const rank: Record<Role, number> = { viewer: 0, member: 1, admin: 2, owner: 3 }
const needed: Record<Right, Role> = {
  'read-usage': 'viewer',
  ask: 'member',
  'own-key': 'member',
  'all-keys': 'admin',
  alerts: 'admin',
  billing: 'admin',
}

export function may(role: Role, right: Right): boolean {
  return reaches(role, needed[right])
}

/** Whether a key of `role` may create, change or revoke keys of role `other`: never those of a higher role. */
export function reaches(role: Role, other: Role): boolean {
  return rank[role] >= rank[other]
}

export function roleNeeded(right: Right): Role {
  return needed[right]
}
