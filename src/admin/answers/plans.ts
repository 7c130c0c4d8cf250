/** Answers about plans and prices. */
import { z } from 'zod'
import { listOf } from '../../http/page.ts'
import { SettingsChange } from '../bodies.ts'
import { Count, Id, Time } from './fields.ts'
import { LimitsAnswer } from './keys.ts'

export const PlanAnswer = z
  .strictObject({
    planId: Id,
    name: z.string(),
    limits: LimitsAnswer,
    settings: SettingsChange.describe('The settings that the plan changes.'),
  })
  .meta({ id: 'Plan' })
export const PlanList = listOf(PlanAnswer, 'PlanList')

export const RateCard = z
  .strictObject({
    model: z.string(),
    effectiveAt: Time,
    inputNano: Count.describe('Nano-dollars for one prompt token.'),
    cachedNano: Count.describe('Nano-dollars for one cached prompt token.'),
    outputNano: Count.describe('Nano-dollars for one output token.'),
  })
  .meta({ id: 'RateCard' })
export const RateCardList = listOf(RateCard, 'RateCardList')

export const PushedRateCard = z
  .strictObject({
    pushed: Count.describe('Tenants that got the card.'),
    kept: z.array(z.string()).describe('Ids of the tenants that keep a card of their own for this time.'),
    next: Id.nullable().describe('The value of `after` for the next call; null after the last one.'),
  })
  .meta({ id: 'PushedRateCard' })
