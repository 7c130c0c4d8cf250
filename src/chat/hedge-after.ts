/** After how long a request whose worker has not begun is given to a second one: a setting, as text, in milliseconds. */
import { z } from 'zod'

/** Sooner, answers that do not stream would all be asked for twice: their first byte comes after a quarter of a second. */
const leastMs = 500
const mostMs = 60_000

export const HedgeAfter = z
  .string()
  .refine((text) => /^\d{3,5}$/.test(text) && Number(text) >= leastMs && Number(text) <= mostMs, {
    error: `must be a whole number of milliseconds from ${leastMs} to ${mostMs}, or be left out`,
  })
  .transform(Number)
