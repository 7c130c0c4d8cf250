/** Schema of a setting that is a whole number, in decimal digits. */
import { z } from 'zod'

interface WholeNumberBounds {
  min: number
  /** Default: no bound but that of exact integers. */
  max?: number
  /** Error text below `min`, if the general one is not enough. */
  tooSmall?: string
}

/** `Number` also reads `0x2000`, `1e3`, `8787.0` and an empty text, which in an environment file are mistakes. */
export function wholeNumber({ min, max = Number.MAX_SAFE_INTEGER, tooSmall }: WholeNumberBounds) {
  const bounded = max < Number.MAX_SAFE_INTEGER
  const format = (value: number) => value.toLocaleString('en-US')
  const expected = bounded ? `from ${min} to ${max}` : `of at least ${min}`
  return z
    .string()
    .regex(/^\d{1,15}$/, {
      error: ({ input }) =>
        `must be a whole number ${expected} in decimal digits, not "${String(input).slice(0, 64)}".`,
    })
    .transform(Number)
    .pipe(z.int().min(min, tooSmall).max(max))
    .meta({ values: bounded ? `${format(min)} to ${format(max)}` : `integer, at least ${format(min)}` })
}
