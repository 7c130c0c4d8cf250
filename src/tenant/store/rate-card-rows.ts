/** The table `rate_cards`: what a token of a model costs this tenant, from a moment on. */
import { budgets } from '../../../backends/model/budgets.ts'
import type { Rates } from '../../../backends/model/money.ts'
import { int, type Sql, type SqlRow } from './sql.ts'

/** Rate card of a new tenant, in nano-dollars per token: Mistral's list price for Small 4. */
export const listPrice: Rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }

export const hostedPrefix = 'hosted:'

/** Name of the tenant's rate card for a model's hosted fallback. Without that card the fallback is not used. */
export function hostedCard(model: string): string {
  return `${hostedPrefix}${model}`
}

interface RateCard {
  effectiveAt: number
  rates: Rates
}

export class RateCardRows {
  readonly #sql: Sql
  /** Cards of each model, the latest first: every request needs its model's rates, and they rarely change. */
  readonly #cached = new Map<string, RateCard[]>()

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Call after a transaction was rolled back. */
  reload(): void {
    this.#cached.clear()
  }

  /** The rates in force at `now`, or undefined if the tenant has no card for the model. */
  ratesAt(model: string, now: number): Rates | undefined {
    return this.#cards(model).find(({ effectiveAt }) => effectiveAt <= now)?.rates
  }

  all(): SqlRow[] {
    return this.#sql.all('SELECT * FROM rate_cards ORDER BY model, effective_at')
  }

  /** The cards of each model that are in force or announced, the earliest first. */
  current(now: number): Map<string, RateCard[]> {
    const query = `SELECT * FROM rate_cards AS card WHERE effective_at >= coalesce(
      (SELECT max(effective_at) FROM rate_cards WHERE model = card.model AND effective_at <= ?), 0)
      ORDER BY model, effective_at`
    const grouped = Map.groupBy(this.#sql.all(query, now), ({ model }) => String(model))
    return new Map([...grouped].map(([model, rows]) => [model, rows.map(readCard)]))
  }

  put(model: string, effectiveAt: number, { inputNano, cachedNano, outputNano }: Rates): void {
    this.#cached.clear()
    const values = [model, effectiveAt, inputNano, cachedNano, outputNano]
    this.#sql.run('INSERT OR REPLACE INTO rate_cards VALUES (?, ?, ?, ?, ?)', ...values)
  }

  #cards(model: string): RateCard[] {
    const known = this.#cached.get(model)
    if (known) return known
    const query = `SELECT effective_at, input_nano, cached_nano, output_nano FROM rate_cards WHERE model = ?
      ORDER BY effective_at DESC`
    const cards = this.#sql.all(query, model).map(readCard)
    // Unknown model names are not cached: there may be any number of them.
    if (cards.length > 0) this.#cached.set(model, cards)
    return cards
  }
}

function readCard(row: SqlRow): RateCard {
  const price = (column: string) => Math.min(budgets.priceNano.value, Math.max(0, int(row, column)))
  return {
    effectiveAt: int(row, 'effective_at'),
    rates: { inputNano: price('input_nano'), cachedNano: price('cached_nano'), outputNano: price('output_nano') },
  }
}
