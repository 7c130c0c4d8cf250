/** The JSON columns of limits, which the account, the keys and the open reservations have. */
import { z } from 'zod'
import { budgets } from '../../../backends/model/budgets.ts'
import { safeInteger } from '../../../backends/model/money.ts'
import type { LimitState, Limits } from '../limits/limits.ts'
import { type SqlRow, text } from './sql.ts'

/** JSON writes a number that is not finite as null. */
export const StoredInt = z
  .number()
  .nullable()
  .transform((value) => safeInteger(value ?? 0))
const Bucket = z.object({ level: StoredInt, at: StoredInt })
const Window = z.object({ window: StoredInt, postedNano: StoredInt, reservedNano: StoredInt })
const LimitStateFields = z.object({
  requests: Bucket,
  tokens: Bucket,
  running: StoredInt,
  windows: z.object({ total: Window.exactOptional(), day: Window.exactOptional(), month: Window.exactOptional() }),
})
/** Rows written before version 0.2 call the windows `purses`. */
export const LimitStateColumn = z.preprocess(
  (value) => (isOldState(value) ? { ...value, windows: value.purses } : value),
  LimitStateFields,
) satisfies z.ZodType<LimitState>

const StoredLimit = z
  .number()
  .nullable()
  .transform((value) => value && safeInteger(value))
const StoredRate = StoredLimit.transform((value) => value && Math.min(value, budgets.ratePerMinute.value))
const LimitsColumn = z.object({
  requestsPerMinute: StoredRate,
  tokensPerMinute: StoredRate,
  concurrentMax: StoredLimit,
  budgetNano: z.object({ total: StoredLimit, day: StoredLimit, month: StoredLimit }),
}) satisfies z.ZodType<Limits>

/** The columns `limits` and `state` of a row. */
export function readLimits(row: SqlRow): { limits: Limits; state: LimitState } {
  return {
    limits: LimitsColumn.parse(JSON.parse(text(row, 'limits'))),
    state: LimitStateColumn.parse(JSON.parse(text(row, 'state'))),
  }
}

function isOldState(value: unknown): value is { purses: unknown } {
  return typeof value === 'object' && value !== null && 'purses' in value && !('windows' in value)
}
