/** The table `operator_keys`. */
import { type Scope, scopes } from '../auth/operator-key.ts'
import { constantTimeEqual } from '../auth/secret.ts'

export interface OperatorRow {
  key_id: string
  name: string
  prefix: string
  secret_hash: string
  scopes: string
  created_at: number
  expires_at: number | null
  revoked_at: number | null
  /** The secret before the last rotation, accepted until `previous_until`. */
  previous_hash: string | null
  previous_until: number | null
  rotated_at: number | null
}

export function findOperatorRow(db: D1Database, keyId: string): Promise<OperatorRow | null> {
  return db.prepare('SELECT * FROM operator_keys WHERE key_id = ?').bind(keyId).first<OperatorRow>()
}

/** The scopes of the row that this version knows. */
export function scopesOf(row: OperatorRow): Scope[] {
  const granted: unknown = JSON.parse(row.scopes)
  return scopes.filter((scope) => Array.isArray(granted) && granted.includes(scope))
}

/** Whether the secret is that of a key which is neither revoked nor expired. Always compares both secrets. */
export function isValidOperator(row: OperatorRow, secretHash: string, now: number): boolean {
  const current = constantTimeEqual(row.secret_hash, secretHash)
  const previous = constantTimeEqual(row.previous_hash ?? '', secretHash) && now < (row.previous_until ?? 0)
  return (current || previous) && row.revoked_at === null && (row.expires_at === null || now < row.expires_at)
}

export function viewOperator(row: OperatorRow) {
  const { key_id: keyId, name, prefix, created_at: createdAt, expires_at: expiresAt, revoked_at: revokedAt } = row
  const { rotated_at: rotatedAt, previous_until: previousUntil } = row
  return { keyId, name, prefix, scopes: scopesOf(row), createdAt, rotatedAt, expiresAt, revokedAt, previousUntil }
}
