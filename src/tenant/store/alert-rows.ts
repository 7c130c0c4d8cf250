/** The tables `alerts`, `alert_endpoints`, `alert_deliveries` and `alert_marks`. */
import { z } from 'zod'
import { budgets } from '../../../backends/model/budgets.ts'
import { type Alert, type AlertType, alertTypes } from '../alerts/alert.ts'
import type { AlertMark } from '../alerts/levels.ts'
import { int, maybeInt, maybeText, type Sql, type SqlRow, text } from './sql.ts'

export interface AlertEndpoint {
  endpointId: string
  url: string
  /** The kinds that it receives; null for all. */
  types: AlertType[] | null
  createdAt: number
  secretVersion: number
  /** The secret before the last rotation, which also signs until `until`. */
  previous: { version: number; until: number } | null
  /** When the endpoint answered that it is gone; null while it receives. */
  disabledAt: number | null
  /** Failures in a row. */
  failures: number
  /** Earliest next delivery, in Unix milliseconds. */
  nextAt: number
  lastFault: string | null
}

export interface StoredAlert extends Alert {
  seq: number
}

export const deliveryStates = ['due', 'delivered', 'failed'] as const

export interface AlertDelivery {
  endpointId: string
  seq: number
  state: (typeof deliveryStates)[number]
  attempts: number
  /** Of a due delivery: earliest next attempt. */
  nextAt: number
  endedAt: number | null
  lastFault: string | null
}

export class AlertRows {
  readonly #sql: Sql
  /** The kinds that the endpoints of this store may receive. */
  readonly deliverable: readonly AlertType[]
  readonly #marks = new Map<string, AlertMark | undefined>()

  constructor(sql: Sql, deliverable: readonly AlertType[]) {
    this.#sql = sql
    this.deliverable = deliverable
  }

  /** Drops what is in memory, after a rollback. */
  reload(): void {
    this.#marks.clear()
  }

  /** Adds an alert and its deliveries. Returns its number, or undefined if its cause was added before. */
  add({ id, type, at, data }: Alert, only?: string): number | undefined {
    if (this.find(id)) return undefined
    this.#sql.run(
      'INSERT INTO alerts (alert_id, type, at, data, forwarded) VALUES (?, ?, ?, ?, ?)',
      ...[id, type, at, JSON.stringify(data), type === 'alert.test' ? 1 : 0],
    )
    const seq = this.find(id)?.seq ?? 0
    for (const endpoint of this.endpoints()) {
      const wanted = only === undefined ? this.#receives(endpoint, type) : endpoint.endpointId === only
      if (wanted) this.putDelivery(newDelivery(endpoint.endpointId, seq, at))
    }
    this.#drop(seq - budgets.alerts.value)
    return seq
  }

  find(id: string): StoredAlert | undefined {
    const row = this.#sql.all('SELECT * FROM alerts WHERE alert_id = ?', id)[0]
    return row && readAlert(row)
  }

  /** Alerts of the deliverable kinds, numbered below `before`, newest first. */
  page(before: number, limit: number): StoredAlert[] {
    const among = this.deliverable.map(() => '?').join(', ')
    const query = `SELECT * FROM alerts WHERE seq < ? AND type IN (${among}) ORDER BY seq DESC LIMIT ?`
    return this.#sql.all(query, before, ...this.deliverable, limit).map(readAlert)
  }

  /** Alerts that the operators' object does not have yet, oldest first. */
  toForward(limit: number): StoredAlert[] {
    return this.#sql.all('SELECT * FROM alerts WHERE forwarded = 0 ORDER BY seq LIMIT ?', limit).map(readAlert)
  }

  markForwarded(seq: number): void {
    this.#sql.run('UPDATE alerts SET forwarded = 1 WHERE forwarded = 0 AND seq <= ?', seq)
  }

  endpoints(): AlertEndpoint[] {
    return this.#sql.all('SELECT * FROM alert_endpoints ORDER BY created_at, endpoint_id').map(readEndpoint)
  }

  endpoint(endpointId: string): AlertEndpoint | undefined {
    const row = this.#sql.all('SELECT * FROM alert_endpoints WHERE endpoint_id = ?', endpointId)[0]
    return row && readEndpoint(row)
  }

  putEndpoint(endpoint: AlertEndpoint): void {
    const { endpointId, url, types, createdAt, secretVersion, previous, disabledAt, failures, nextAt, lastFault } =
      endpoint
    this.#sql.run(
      'INSERT OR REPLACE INTO alert_endpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      ...[endpointId, url, types && JSON.stringify(types), createdAt, secretVersion],
      ...[previous?.version ?? null, previous?.until ?? null, disabledAt, failures, nextAt, lastFault],
    )
  }

  dropEndpoint(endpointId: string): void {
    this.#sql.run('DELETE FROM alert_endpoints WHERE endpoint_id = ?', endpointId)
    this.#sql.run('DELETE FROM alert_deliveries WHERE endpoint_id = ?', endpointId)
  }

  delivery(endpointId: string, seq: number): AlertDelivery | undefined {
    const query = 'SELECT * FROM alert_deliveries WHERE endpoint_id = ? AND seq = ?'
    const row = this.#sql.all(query, endpointId, seq)[0]
    return row && readDelivery(row)
  }

  putDelivery({ endpointId, seq, state, attempts, nextAt, endedAt, lastFault }: AlertDelivery): void {
    this.#sql.run(
      'INSERT OR REPLACE INTO alert_deliveries VALUES (?, ?, ?, ?, ?, ?, ?)',
      ...[endpointId, seq, state, attempts, nextAt, endedAt, lastFault],
    )
  }

  /** The due delivery of an endpoint with the earliest time, and its alert. */
  nextDue(endpointId: string): { delivery: AlertDelivery; alert: StoredAlert } | undefined {
    const query = `SELECT * FROM alert_deliveries WHERE endpoint_id = ? AND state = 'due' ORDER BY next_at, seq LIMIT 1`
    const row = this.#sql.all(query, endpointId)[0]
    const delivery = row && readDelivery(row)
    const alert = delivery && this.#sql.all('SELECT * FROM alerts WHERE seq = ?', delivery.seq)[0]
    return delivery && alert && { delivery, alert: readAlert(alert) }
  }

  /** The id of a test that is still to be delivered to an endpoint. */
  dueTest(endpointId: string): string | undefined {
    const query = `SELECT alert_id FROM alert_deliveries JOIN alerts USING (seq)
      WHERE endpoint_id = ? AND state = 'due' AND type = 'alert.test' LIMIT 1`
    const row = this.#sql.all(query, endpointId)[0]
    return row && text(row, 'alert_id')
  }

  /** Deliveries to an endpoint with numbers below `before`, newest first. */
  deliveries(endpointId: string, before: number, limit: number): { delivery: AlertDelivery; alert: StoredAlert }[] {
    const query = `SELECT alerts.*, alert_deliveries.* FROM alert_deliveries JOIN alerts USING (seq)
      WHERE endpoint_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?`
    return this.#sql
      .all(query, endpointId, before, limit)
      .map((row) => ({ delivery: readDelivery(row), alert: readAlert(row) }))
  }

  mark(subject: string): AlertMark | undefined {
    if (!this.#marks.has(subject)) {
      const row = this.#sql.all('SELECT * FROM alert_marks WHERE subject = ?', subject)[0]
      if (this.#marks.size >= marksInMemory) this.#marks.clear()
      this.#marks.set(subject, row && readMark(row))
    }
    return this.#marks.get(subject)
  }

  putMark(mark: AlertMark): void {
    const { subject, window, limitNano, levels } = mark
    this.#sql.run('INSERT OR REPLACE INTO alert_marks VALUES (?, ?, ?, ?)', subject, window, limitNano, levels)
    this.#marks.set(subject, mark)
  }

  /** Unrevoked keys that expire before `until` and whose expiry has no mark, the first ones first. */
  keysToExpire(now: number, until: number, limit: number): { keyId: string; name: string; expiresAt: number }[] {
    const query = `SELECT key_id, name, expires_at FROM api_keys WHERE revoked_at IS NULL AND expires_at > ? AND
      expires_at <= ? AND NOT EXISTS (SELECT 1 FROM alert_marks WHERE subject = 'expiry:' || key_id AND
      alert_marks.window = expires_at) ORDER BY expires_at LIMIT ?`
    return this.#sql.all(query, now, until, limit).map((row) => ({
      keyId: text(row, 'key_id'),
      name: text(row, 'name'),
      expiresAt: int(row, 'expires_at'),
    }))
  }

  #receives({ types, disabledAt }: AlertEndpoint, type: AlertType): boolean {
    return disabledAt === null && (types ?? this.deliverable).includes(type) && this.deliverable.includes(type)
  }

  #drop(seq: number): void {
    if (seq <= 0) return
    this.#sql.run('DELETE FROM alerts WHERE seq <= ?', seq)
    this.#sql.run('DELETE FROM alert_deliveries WHERE seq <= ?', seq)
  }
}

const marksInMemory = 1_000

export function newDelivery(endpointId: string, seq: number, now: number): AlertDelivery {
  return { endpointId, seq, state: 'due', attempts: 0, nextAt: now, endedAt: null, lastFault: null }
}

const Type = z.enum(alertTypes)
const Types = z.array(Type)
const Data = z.record(z.string(), z.unknown())

function readMark(row: SqlRow): AlertMark {
  return {
    subject: text(row, 'subject'),
    window: int(row, 'window'),
    limitNano: int(row, 'limit_nano'),
    levels: int(row, 'levels'),
  }
}

function readAlert(row: SqlRow): StoredAlert {
  return {
    seq: int(row, 'seq'),
    id: text(row, 'alert_id'),
    type: Type.parse(row.type),
    at: int(row, 'at'),
    data: Data.parse(JSON.parse(text(row, 'data'))),
  }
}

function readEndpoint(row: SqlRow): AlertEndpoint {
  const previousVersion = maybeInt(row, 'previous_version')
  return {
    endpointId: text(row, 'endpoint_id'),
    url: text(row, 'url'),
    types: row.types === null ? null : Types.parse(JSON.parse(text(row, 'types'))),
    createdAt: int(row, 'created_at'),
    secretVersion: int(row, 'secret_version'),
    previous: previousVersion === null ? null : { version: previousVersion, until: int(row, 'previous_until') },
    disabledAt: maybeInt(row, 'disabled_at'),
    failures: int(row, 'failures'),
    nextAt: int(row, 'next_at'),
    lastFault: maybeText(row, 'last_fault'),
  }
}

function readDelivery(row: SqlRow): AlertDelivery {
  return {
    endpointId: text(row, 'endpoint_id'),
    seq: int(row, 'seq'),
    state: z.enum(deliveryStates).parse(row.state),
    attempts: int(row, 'attempts'),
    nextAt: int(row, 'next_at'),
    endedAt: maybeInt(row, 'ended_at'),
    lastFault: maybeText(row, 'last_fault'),
  }
}
