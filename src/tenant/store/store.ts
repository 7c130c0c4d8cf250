/**
 * A tenant object's store: one file per table. Every function is synchronous; a caller of several functions wraps them
 * in one transaction.
 */
import { tenantAlertTypes } from '../alerts/alert.ts'
import { AccountRows } from './account-rows.ts'
import { AlertRows } from './alert-rows.ts'
import { EarlyVoidRows } from './early-void-rows.ts'
import { EntryRows } from './entry-rows.ts'
import { KeyRows } from './key-rows.ts'
import { MoneyRows } from './money-rows.ts'
import { OpenReservations } from './open-reservations.ts'
import { OrderRows } from './order-rows.ts'
import { PrunedRows } from './pruned-rows.ts'
import { RateCardRows } from './rate-card-rows.ts'
import { RequestRows } from './request-rows.ts'
import { ReservationRows } from './reservation-rows.ts'
import { isRestoring, migrate } from './schema.ts'
import type { Sql } from './sql.ts'
import { UsageLabelRows } from './usage-label-rows.ts'
import { UsageRows } from './usage-rows.ts'
import { WebhookRows } from './webhook-rows.ts'

export function openStore(sql: Sql) {
  // During a restore, the rows have the schema of their export.
  if (!isRestoring(sql)) migrate(sql)
  const open = new OpenReservations(sql)
  const requests = new RequestRows(sql, open)
  const reservations = new ReservationRows(sql, open, requests)
  const usageLabels = new UsageLabelRows(sql)
  const rateCards = new RateCardRows(sql)
  const earlyVoids = new EarlyVoidRows(sql)
  const alerts = new AlertRows(sql, tenantAlertTypes)
  return {
    account: new AccountRows(sql, open),
    keys: new KeyRows(sql, open),
    rateCards,
    reservations,
    earlyVoids,
    alerts,
    entries: new EntryRows(sql),
    pruned: new PrunedRows(sql, open),
    orders: new OrderRows(sql),
    requests,
    money: new MoneyRows(sql),
    usage: new UsageRows(sql),
    usageLabels,
    webhook: new WebhookRows(sql),
    /** Whether a restore of the tenant began and has not ended. */
    restoring: () => isRestoring(sql),
    /** Call at the end of a transaction, after changed account and keys were put. */
    write(): void {
      open.write()
    },
    /** Reads the in-memory state again after a transaction was rolled back. */
    reload(): void {
      for (const rows of [reservations, rateCards, earlyVoids, usageLabels, alerts]) rows.reload()
    },
  }
}

export type Store = ReturnType<typeof openStore>
