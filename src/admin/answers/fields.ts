/** Fields that the answers of several resources have. */
import { z } from 'zod'

export const Count = z.int().min(0)
export const Time = z.int().min(0).describe('A time in Unix milliseconds.')
export const TimeOrNull = Time.nullable()
export const Id = z.string()
export const Removed = z.strictObject({ removed: z.literal(true) }).meta({ id: 'Removed' })
