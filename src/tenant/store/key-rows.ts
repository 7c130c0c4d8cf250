/** The table `api_keys`. */
import { z } from 'zod'
import type { LimitState, Limits } from '../limits/limits.ts'
import { type Role, roles } from '../roles.ts'
import { readLimits } from './limit-columns.ts'
import type { OpenReservations } from './open-reservations.ts'
import { int, maybeInt, type Sql, type SqlRow, text } from './sql.ts'

export interface KeyRow {
  keyId: string
  name: string
  prefix: string
  secretHash: string
  /** The secret before the last rotation, accepted until `until`. */
  previous: { secretHash: string; until: number } | null
  /** Decides the key's permissions; see roles.ts. */
  role: Role
  createdAt: number
  /** When the key got its present secret; null since its creation. */
  rotatedAt: number | null
  expiresAt: number | null
  revokedAt: number | null
  lastUsedAt: number | null
  /** The models that the key can use; null for all. */
  models: string[] | null
  /** `batch` lowers the class of the key's requests; null uses the tenant's class. A key cannot raise it. */
  class: 'batch' | null
  /** IP addresses and ranges from which the key can be used; null for all. */
  allowedIps: string[] | null
  limits: Limits
  state: LimitState
}

export class KeyRows {
  readonly #sql: Sql
  readonly #open: OpenReservations

  constructor(sql: Sql, open: OpenReservations) {
    this.#sql = sql
    this.#open = open
  }

  find(keyId: string): KeyRow | undefined {
    return this.#read('SELECT * FROM api_keys WHERE key_id = ?', keyId)[0]
  }

  all(): KeyRow[] {
    return this.#read('SELECT * FROM api_keys ORDER BY created_at, key_id')
  }

  /** Keys ordered by id, with ids greater than `after` and a key prefix that begins with `prefix`. */
  after(after: string, prefix: string, limit: number): KeyRow[] {
    const query = `SELECT * FROM api_keys WHERE key_id > ? AND substr(prefix, 1, length(?)) = ? ORDER BY key_id LIMIT ?`
    return this.#read(query, after, prefix, prefix, limit)
  }

  count(): number {
    return int(this.#sql.all('SELECT count(*) AS n FROM api_keys')[0] ?? {}, 'n')
  }

  /** Keys that are neither revoked nor expired. */
  countValid(now: number): number {
    const query = 'SELECT count(*) AS n FROM api_keys WHERE revoked_at IS NULL AND coalesce(expires_at, ?) >= ?'
    return int(this.#sql.all(query, now + 1, now + 1)[0] ?? {}, 'n')
  }

  /** The caller drops its copies of the keys. */
  revokeAll(roles: readonly Role[], exceptId: string | null, now: number): void {
    this.#sql.run(
      `UPDATE api_keys SET revoked_at = ?, previous_hash = NULL, previous_until = NULL
        WHERE revoked_at IS NULL AND key_id IS NOT ? AND role IN (${roles.map(() => '?').join(', ')})`,
      ...[now, exceptId, ...roles],
    )
  }

  put(key: KeyRow): void {
    this.#sql.run(
      `INSERT OR REPLACE INTO api_keys (key_id, name, prefix, secret_hash, previous_hash, previous_until, role,
        created_at, expires_at, revoked_at, last_used_at, models, limits, state, class, allowed_ips, rotated_at, version)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ...[key.keyId, key.name, key.prefix, key.secretHash],
      ...[key.previous?.secretHash ?? null, key.previous?.until ?? null, key.role],
      ...[key.createdAt, key.expiresAt, key.revokedAt, key.lastUsedAt, key.models && JSON.stringify(key.models)],
      ...[JSON.stringify(key.limits), JSON.stringify(key.state), key.class],
      ...[key.allowedIps && JSON.stringify(key.allowedIps), key.rotatedAt, this.#open.version()],
    )
  }

  /** Writes the columns that change with every request. */
  putState(key: KeyRow): void {
    if (this.#open.carryKey(key)) return
    this.#sql.run(
      'UPDATE api_keys SET state = ?, last_used_at = ?, version = ? WHERE key_id = ?',
      ...[JSON.stringify(key.state), key.lastUsedAt, this.#open.version(), key.keyId],
    )
  }

  #read(query: string, ...values: (string | number)[]): KeyRow[] {
    return this.#sql.all(query, ...values).map((row) => this.#open.key(readKey(row), int(row, 'version')))
  }
}

function readKey(row: SqlRow): KeyRow {
  return {
    keyId: text(row, 'key_id'),
    name: text(row, 'name'),
    prefix: text(row, 'prefix'),
    secretHash: text(row, 'secret_hash'),
    previous:
      row.previous_hash == null ? null : { secretHash: text(row, 'previous_hash'), until: int(row, 'previous_until') },
    role: z.enum(roles).parse(row.role),
    createdAt: int(row, 'created_at'),
    rotatedAt: maybeInt(row, 'rotated_at'),
    expiresAt: maybeInt(row, 'expires_at'),
    revokedAt: maybeInt(row, 'revoked_at'),
    lastUsedAt: maybeInt(row, 'last_used_at'),
    models: row.models === null ? null : z.array(z.string()).parse(JSON.parse(text(row, 'models'))),
    class: z.literal('batch').nullable().parse(row.class),
    allowedIps: row.allowed_ips === null ? null : z.array(z.string()).parse(JSON.parse(text(row, 'allowed_ips'))),
    ...readLimits(row),
  }
}
