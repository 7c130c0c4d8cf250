/**
 * Alerts: the kinds, and the body of one as an endpoint receives it. An alert never changes: every delivery of it has
 * the same id and the same bytes.
 */
import { withDollars } from '../../http/dollars.ts'
import { toSnake } from '../../http/snake-case.ts'

/** Kinds that a tenant receives about itself. Its operator receives them too. */
export const tenantAlertTypes = ['budget.reached', 'credit.low', 'key.expiring', 'alert.test'] as const
/** Kinds that only operators receive. */
const fleetAlertTypes = ['worker.lost', 'worker.returned', 'receipts.owed', 'receipts.refused', 'meter.behind'] as const
export const alertTypes = [...tenantAlertTypes, ...fleetAlertTypes] as const
export type AlertType = (typeof alertTypes)[number]

export interface Alert {
  /** Unique, and chosen by the cause: a repeated cause has the same id and is stored once. */
  id: string
  type: AlertType
  /** Unix milliseconds. */
  at: number
  /** Facts, with the names of the product’s fields. */
  data: Record<string, unknown>
}

export const alertIdPattern = /^evt_[\w.-]{1,120}$/

/** @param parts name the cause; other characters than letters, digits, dots and dashes become dashes */
export function alertId(...parts: (string | number)[]): string {
  return `evt_${parts.map((part) => String(part).replace(/[^A-Za-z0-9.-]/g, '-')).join('_')}`.slice(0, 124)
}

/** The exact body of every delivery. Names and dollars are written as in all answers. */
export function alertBody({ id, type, at, data }: Alert): string {
  return JSON.stringify({ type, timestamp: new Date(at).toISOString(), id, data: withDollars(toSnake(data)) })
}
