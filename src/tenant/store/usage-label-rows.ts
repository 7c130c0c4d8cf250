/**
 * The table `usage_labels`: settled requests by end user and by tag, in days of the tenant's calendar. A day has a
 * bounded number of values of each kind; those beyond it count as `other`.
 */
import type { LedgerEntry } from '../ledger/ledger.ts'
import { countedLabel, eachLabel, type LabelKind, otherLabel, type UsageLabels } from '../usage/labels.ts'
import type { EntryLabels } from './entry-rows.ts'
import { type Sql, text } from './sql.ts'
import { addedSums, sumsOf } from './usage-rows.ts'

export class UsageLabelRows {
  readonly #sql: Sql
  /** The values of the last day that was counted. */
  readonly #known = new Map<LabelKind, { day: number; values: Set<string> }>()

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Call after a transaction was rolled back. */
  reload(): void {
    this.#known.clear()
  }

  /** @param day start of the day of the entry, in Unix milliseconds */
  add(
    day: number,
    request: UsageLabels,
    { keyId, model, pool, effort, outcome }: EntryLabels,
    entry: LedgerEntry,
  ): void {
    for (const [label, value] of eachLabel(request)) {
      const known = this.#valuesOf(label, day)
      const counted = countedLabel(value, known)
      if (counted !== otherLabel) known.add(counted)
      this.#sql.run(
        `INSERT INTO usage_labels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          ON CONFLICT DO UPDATE SET ${addedSums}`,
        ...[day, label, counted, keyId ?? '', model ?? '', pool ?? '', effort ?? '', outcome ?? '', ...sumsOf(entry)],
      )
    }
  }

  #valuesOf(label: LabelKind, day: number): Set<string> {
    const known = this.#known.get(label)
    if (known?.day === day) return known.values
    const query = 'SELECT DISTINCT value FROM usage_labels WHERE label = ? AND day = ? AND value <> ?'
    const values = new Set(this.#sql.all(query, label, day, otherLabel).map((row) => text(row, 'value')))
    this.#known.set(label, { day, values })
    return values
  }
}
