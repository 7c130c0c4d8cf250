/** Answers about alerts and their endpoints. */
import { z } from 'zod'
import { listBefore, listOf } from '../../http/page.ts'
import { alertTypes } from '../../tenant/alerts/alert.ts'
import type { DeliveryView, EndpointView } from '../../tenant/alerts/endpoint-view.ts'
import { deliveryStates } from '../../tenant/store/alert-rows.ts'
import { Count, Id, Time, TimeOrNull } from './fields.ts'

const type = z.enum(alertTypes).describe('The kind of the alert.')
const alert = {
  id: Id.describe('The same in every delivery of the alert, as the header `webhook-id`.'),
  type,
  at: Time.describe('When the alert was raised, in Unix milliseconds.'),
  data: z.record(z.string(), z.unknown()).describe('The facts; each kind has its own fields.'),
}
export const AlertAnswer = z.strictObject(alert).meta({ id: 'Alert' })

const endpoint = {
  endpointId: Id,
  url: z.string(),
  types: z.array(type).nullable().describe('The kinds that the endpoint receives; null for all.'),
  createdAt: Time,
  previousSecretUntil: TimeOrNull.describe('Until when the secret before the last rotation also signs.'),
  disabledAt: TimeOrNull.describe('When the endpoint answered 410 and was disabled; null while it receives.'),
  failures: Count.describe('Failed deliveries since the last success.'),
  nextAt: TimeOrNull.describe('Earliest time of the next delivery; null if it may be now.'),
  lastFault: z.string().nullable(),
}
export const EndpointAnswer = z.strictObject(endpoint).meta({ id: 'AlertEndpoint' }) satisfies z.ZodType<EndpointView>
export const NewEndpointAnswer = z
  .strictObject({
    ...endpoint,
    secret: z.string().describe('Signs the alerts, as in Standard Webhooks. No later answer contains it.'),
  })
  .meta({ id: 'NewAlertEndpoint' })

export const DeliveryAnswer = z
  .strictObject({
    seq: Count.describe('Number of the alert, in the order in which alerts were raised.'),
    alertId: Id,
    type,
    at: alert.at,
    state: z.enum(deliveryStates).describe('`failed`: no attempt remains. Deliver the alert again to send it.'),
    attempts: Count,
    nextAt: TimeOrNull.describe('Of a due delivery: earliest time of the next attempt.'),
    endedAt: TimeOrNull.describe('When the endpoint acknowledged the alert, or the last attempt failed.'),
    lastFault: z.string().nullable(),
  })
  .meta({ id: 'AlertDelivery' }) satisfies z.ZodType<DeliveryView>

export const AlertList = listBefore(
  z.strictObject({ ...alert, seq: Count.describe('Number of the alert.') }).meta({ id: 'ListedAlert' }),
  'AlertList',
)
export const EndpointList = listOf(EndpointAnswer, 'AlertEndpointList')
export const DeliveryList = listBefore(DeliveryAnswer, 'AlertDeliveryList')

const ownList = { object: z.literal('list') }
export const OwnAlertList = z.strictObject({ ...ownList, ...AlertList.shape }).meta({ id: 'OwnAlertList' })
export const OwnEndpointList = z.strictObject({ ...ownList, ...EndpointList.shape }).meta({ id: 'OwnEndpointList' })
export const OwnDeliveryList = z.strictObject({ ...ownList, ...DeliveryList.shape }).meta({ id: 'OwnDeliveryList' })

export const RemovedEndpoint = z
  .strictObject({ ...endpoint, removed: z.literal(true) })
  .meta({ id: 'RemovedAlertEndpoint' })

export const AlertThresholdsAnswer = z
  .strictObject({
    alertBudgetShares: z.array(z.number()),
    alertCreditNano: z.array(Count),
    alertKeyExpiryDays: Count,
  })
  .meta({ id: 'AlertThresholds' })
