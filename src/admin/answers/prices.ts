/** Answers about a tenant's own prices. */
import { z } from 'zod'
import { dollars } from '../../../backends/model/money.ts'
import { Decimal } from '../../http/response-schemas.ts'
import type { Price } from '../../tenant/prices.ts'
import { Count, Time } from './fields.ts'

const OwnPrice = z
  .strictObject({
    object: z.literal('price'),
    model: z.string(),
    served_by: z
      .enum(['workers', 'hosted'])
      .describe('`hosted`: the price of an answer of the hosted API, if your settings allow it.'),
    in_force: z.boolean().describe('False for a price that is announced.'),
    effective_at: Time,
    until: Time.nullable().describe('The time of the next price, in Unix milliseconds; null if none is announced.'),
    input_usd: Decimal.describe('Dollars for one prompt token.'),
    cached_usd: Decimal.describe('Dollars for one cached prompt token.'),
    output_usd: Decimal.describe('Dollars for one output token.'),
    input_nano: Count.describe('Nano-dollars for one prompt token.'),
    cached_nano: Count.describe('Nano-dollars for one cached prompt token.'),
    output_nano: Count.describe('Nano-dollars for one output token.'),
  })
  .meta({ id: 'OwnPrice' })

export const OwnPriceList = z
  .strictObject({
    object: z.literal('list'),
    data: z.array(OwnPrice),
    next: z.null().describe('Always null: there is one page.'),
  })
  .meta({ id: 'OwnPriceList' })

export function priceAnswer({ model, servedBy, effectiveAt, until, inForce, rates }: Price): z.infer<typeof OwnPrice> {
  const { inputNano, cachedNano, outputNano } = rates
  return {
    ...{ object: 'price', model, served_by: servedBy, in_force: inForce, effective_at: effectiveAt, until },
    ...{ input_usd: dollars(inputNano), cached_usd: dollars(cachedNano), output_usd: dollars(outputNano) },
    ...{ input_nano: inputNano, cached_nano: cachedNano, output_nano: outputNano },
  }
}
