/** Dollars next to nano-dollars, in answers and in their schemas. */
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { schemaWithDollars, withDollars } from '../../src/http/dollars.ts'

describe('amounts', () => {
  it('[USD1] every amount in nano-dollars has the same amount in dollars next to it, exactly', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (nano) => {
        const { cost_usd } = withDollars({ cost_nano: nano }) as { cost_usd: string }
        const [whole = '', fraction = ''] = cost_usd.replace('-', '').split('.')
        const read = BigInt(whole + fraction.padEnd(9, '0'))
        expect(cost_usd.startsWith('-') ? -read : read).toBe(BigInt(nano))
        expect(cost_usd).toMatch(/^-?(0|[1-9]\d*)(\.\d{1,9})?$/)
      }),
    )
    const budget_nano = { total: null, day: 1_500_000_000 }
    expect(withDollars({ data: [{ limits: { budget_nano } }], cost_nano: null, nano: 1 })).toEqual({
      data: [{ limits: { budget_nano, budget_usd: { total: null, day: '1.5' } } }],
      ...{ cost_nano: null, cost_usd: null, nano: 1 },
    })
    const left = { budget_nano: { day: { max_nano: 5, ends_at: 1 }, total: null } }
    expect(withDollars({ left: { budget_nano: { day: null } } })).toEqual({ left: { budget_nano: { day: null } } })
    expect(withDollars(left)).toEqual({
      budget_nano: { day: { max_nano: 5, max_usd: '0.000000005', ends_at: 1 }, total: null },
    })
    expect(withDollars({ input_usd: 'kept', input_nano: 1 })).toEqual({ input_usd: 'kept', input_nano: 1 })
  })

  it('[USD2] the schema of an answer has the fields that the answer gets', () => {
    const amount = z.int().nullable()
    const part = z.strictObject({ max_nano: z.int(), ends_at: z.int().nullable() }).nullable()
    const schema = z.strictObject({
      cost_nano: amount,
      budget_nano: z.strictObject({ day: amount, month: amount }),
      left: z.strictObject({ budget_nano: z.strictObject({ day: part }) }),
      maybe_nano: z.int().exactOptional(),
      data: z.array(z.strictObject({ credit_nano: z.int() })),
    })
    const validate = new Ajv2020({ strict: false }).compile(
      schemaWithDollars(z.toJSONSchema(schema, { io: 'output' })) as object,
    )
    const value = {
      ...{
        cost_nano: 1,
        budget_nano: { day: null, month: 2 },
        left: { budget_nano: { day: { max_nano: 1, ends_at: 1 } } },
      },
      data: [{ credit_nano: 5 }],
    }
    expect(validate(withDollars(value)), JSON.stringify(validate.errors)).toBe(true)
    expect(validate(value)).toBe(false)
  })
})
