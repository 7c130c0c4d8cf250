/** Bodies of the routes for alerts, and the calls of those routes. */
import { z } from 'zod'
import { base32 } from '../auth/api-key.ts'
import { settings } from '../config.ts'
import { GatewayError } from '../http/errors.ts'
import { type AlertType, alertIdPattern, alertTypes, tenantAlertTypes } from '../tenant/alerts/alert.ts'
import type { AlertAnswers, AlertCall } from '../tenant/alerts/alert-calls.ts'
import type { AlertAnswer } from '../tenant/alerts/alert-deliveries.ts'
import type { TenantResult } from '../tenant/permissions.ts'
import { accept } from '../tenant/stub.ts'
import { webhookUrlFault } from '../tenant/webhooks/event.ts'
import { RotateBody, SettingsFields } from './bodies.ts'
import type { AdminBindings } from './context.ts'

export const EndpointId = z
  .string()
  .regex(/^ep_[a-z2-7]{16}$/, 'must be ep_ and 16 characters of a to z and 2 to 7')
  .describe('Id of the endpoint: `ep_` and 16 characters of a to z and 2 to 7.')
  .meta({ examples: ['ep_k2v7mq3xw5ndab4e'] })

export const AlertId = z
  .string()
  .regex(alertIdPattern, 'must be evt_ and at most 120 letters, digits or _ . -')
  .describe('Id of the alert: `evt_` and at most 120 letters, digits or _ . -')
  .meta({ examples: ['evt_expiry_acme_k2v7mq3xw5ndab4e_1893456000000'] })

const Url = z
  .string()
  .min(1)
  .max(512)
  .describe('Address that receives the alerts: https with a public host name, at most 512 characters.')
  .meta({ format: 'uri', pattern: '^https?://', examples: ['https://ops.example.com/alerts'] })

function typesOf<Type extends AlertType>(types: readonly Type[]) {
  return z
    .array(z.enum(types as [Type, ...Type[]]))
    .min(1)
    .max(20)
    .nullable()
    .describe(`The kinds that the endpoint receives: ${types.join(', ')}. Null: all.`)
    .meta({ examples: [['budget.reached', 'credit.low']] })
}

const bodies = (types: ReturnType<typeof typesOf>, name: string) => ({
  create: z.strictObject({ url: Url, types: types.default(null) }).meta({ id: `Create${name}` }),
  update: z.strictObject({ url: Url.exactOptional(), types: types.exactOptional() }).meta({ id: `Update${name}` }),
})
export const tenantEndpoint = bodies(typesOf(tenantAlertTypes) as ReturnType<typeof typesOf>, 'OwnAlertEndpoint')
export const operatorEndpoint = bodies(typesOf(alertTypes) as ReturnType<typeof typesOf>, 'AlertEndpoint')

export const RotateEndpoint = RotateBody

export const ThresholdsBody = z
  .strictObject({
    alertBudgetShares: SettingsFields.alertBudgetShares,
    alertCreditNano: SettingsFields.alertCreditNano,
    alertKeyExpiryDays: SettingsFields.alertKeyExpiryDays,
  })
  .meta({ id: 'UpdateAlertThresholds' })

export function newEndpointId(): string {
  return `ep_${base32(crypto.getRandomValues(new Uint8Array(10)))}`
}

/** Refuses an address that webhooks may not call. */
export async function checkUrl(env: AdminBindings, url: string | undefined): Promise<void> {
  const { meterLoopback } = await settings(env)
  const fault = url === undefined ? undefined : webhookUrlFault(url, meterLoopback)
  if (fault) throw new GatewayError('invalid_value', `url: ${fault}.`, { param: 'url' })
}

/** The answer of a call of this kind. Throws its refusal. */
export async function answerOf<Kind extends AlertCall['kind']>(
  result: PromiseLike<TenantResult<AlertAnswer>>,
  _kind: Kind,
): Promise<{ answer: AlertAnswers[Kind]; secret: string | undefined }> {
  const { answer, secret } = accept(await result)
  return { answer: answer as AlertAnswers[Kind], secret }
}
