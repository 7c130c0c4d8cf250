/** The setting HEDGE_AFTER_MS: the time without a first token after which a second worker gets the request too. */
import { z } from 'zod'

/** A shorter time would hedge every non-streaming request: its first byte comes after 250 ms. */
const minMs = 500
const maxMs = 60_000

export const HedgeAfter = z
  .string()
  .refine((text) => /^\d{3,5}$/.test(text) && Number(text) >= minMs && Number(text) <= maxMs, {
    error: `must be a whole number of milliseconds from ${minMs} to ${maxMs}, or unset`,
  })
  .transform(Number)
