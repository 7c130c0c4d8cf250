/** Export, restore and deletion of one tenant object: each call is one transaction. */
import type { TenantAccount } from '../account.ts'
import type { Alarm } from '../alarm.ts'
import type { TenantResult } from '../permissions.ts'
import type { Sql } from '../store/sql.ts'
import type { Transactions } from '../transactions.ts'
import { type DeletedTenant, deleteTenant, purgeBooks } from './delete-tenant.ts'
import type { ExportedRow } from './export-format.ts'
import { type ExportCursor, type ExportPage, exportPage } from './export-rows.ts'
import { beginRestore, dropRestore, finishRestore, type RestoreTarget, restoreRows } from './restore-rows.ts'

export interface LifeParts {
  account: TenantAccount
  transactions: Transactions
  alarm: Alarm
  sql: Sql
  /** Names the process of the object. */
  process: string
  now: () => number
}

const soonMs = 1_000

export class TenantLife {
  readonly #parts: LifeParts

  constructor(parts: LifeParts) {
    this.#parts = parts
  }

  exportPage(cursor: ExportCursor | null): ExportPage {
    return exportPage(this.#parts.sql, cursor, this.#parts.process)
  }

  begin(target: RestoreTarget): string | undefined {
    return this.#changed((sql) => beginRestore(sql, target))
  }

  rows(rows: readonly ExportedRow[]): string | undefined {
    return this.#changed((sql) => restoreRows(sql, rows))
  }

  finish(): string[] {
    const faults = this.#changed((sql) => finishRestore(sql, this.#parts.now()))
    this.#parts.alarm.wakeAt(this.#parts.now() + soonMs)
    return faults
  }

  drop(): void {
    this.#changed(dropRestore)
  }

  delete(confirm: string, retentionDays: number): TenantResult<DeletedTenant> {
    const { account, transactions, alarm, sql, now } = this.#parts
    const at = now()
    const deleted = transactions.transaction(() => deleteTenant(account, sql, { confirm, retentionDays }, at))
    if (deleted.ok) alarm.wakeAt(Math.max(deleted.value.purgeAt, at + soonMs))
    return deleted
  }

  purge(limit: number): number {
    return purgeBooks(this.#parts.account, this.#parts.sql, limit)
  }

  /** Runs work that replaces rows. Copies in memory are dropped. */
  #changed<Result>(work: (sql: Sql) => Result): Result {
    const { account, transactions, sql } = this.#parts
    const result = transactions.transaction(() => work(sql))
    account.forget()
    return result
  }
}
