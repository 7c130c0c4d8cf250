/** `/v1/billing` and the webhook of the payment provider: credit that tenants buy. Off unless its keys are set. */
import { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { ownRoute } from '../account/own-route.ts'
import { type AdminEnv, note } from '../admin/context.ts'
import { type ConfigVariables, settings } from '../config.ts'
import { readJsonBody } from '../http/body.ts'
import { GatewayError } from '../http/errors.ts'
import { type Route, routesIn } from '../http/route.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { customerOf } from './customers.ts'
import type { PaymentProvider } from './payment-provider.ts'
import { postPayment } from './post-payment.ts'
import { stripeProvider } from './stripe-provider.ts'

const Page = z
  .url({ protocol: /^https$/, error: 'must be an https URL of at most 2,000 characters' })
  .max(2_000, 'must be an https URL of at most 2,000 characters')
const CheckoutBody = z
  .strictObject({
    amountCents: z
      .int()
      .min(100)
      .max(1_000_000)
      .describe('Amount to pay in whole US cents, from 100 to 1,000,000: 1 to 10,000 dollars.')
      .meta({ examples: [2_500] }),
    successUrl: Page.describe('Page of yours that opens after the payment.').meta({
      examples: ['https://app.example.com/paid'],
    }),
    cancelUrl: Page.optional()
      .describe('Page of yours that opens when the buyer goes back. Without it, Checkout has no way back.')
      .meta({ examples: ['https://app.example.com/credit'] }),
  })
  .meta({ id: 'CreateCheckout' })
const PortalBody = z
  .strictObject({
    returnUrl: Page.describe('Page of yours to which the portal leads back.').meta({
      examples: ['https://app.example.com/credit'],
    }),
  })
  .meta({ id: 'CreatePortal' })

const CheckoutAnswer = z
  .strictObject({
    id: z.string().describe('The id of the session at the payment provider.'),
    url: z.url().describe('Open this page to pay.'),
    amountCents: z.int(),
    expiresAt: z.int().describe('When the page expires, in Unix milliseconds.'),
  })
  .meta({ id: 'Checkout' })
const PortalAnswer = z
  .strictObject({ url: z.url().describe('Open this page for invoices and payment methods.') })
  .meta({ id: 'BillingPortal' })
const EventAnswer = z
  .strictObject({
    received: z.literal(true),
    outcome: z.enum(['credited', 'reversed', 'repeated', 'ignored']),
    reason: z.string().nullable().describe('Why the event was ignored; null for other outcomes.'),
  })
  .meta({ id: 'PaymentEventReceived' })

async function providerOf(env: ConfigVariables): Promise<PaymentProvider> {
  const { stripe } = await settings(env)
  if (stripe) return stripeProvider(stripe)
  const message =
    'This gateway sells no credit. Its operator sets STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET with wrangler secret put.'
  throw new GatewayError('not_configured', message)
}

export const billingRoutes: readonly Route[] = [
  ownRoute(
    {
      method: 'post',
      path: '/v1/billing/checkout',
      id: 'createCheckout',
      summary: 'Buy credit',
      description: 'For the roles `admin` and `owner`. The credit is added when the payment has succeeded.',
      body: CheckoutBody,
      status: 201,
      answer: CheckoutAnswer,
    },
    async (context, { body }) => {
      const { env } = context
      const { tenantId, by } = context.get('caller')
      const provider = await providerOf(env)
      accept(await tenantStub(env, tenantId).identify(by, 'billing'))
      const customerId = await customerOf(env.DB, provider, tenantId)
      const { amountCents, successUrl, cancelUrl } = body
      const checkout = await provider.createCheckout({ tenantId, customerId, amountCents, successUrl, cancelUrl })
      note(context, { target: checkout.id, after: { amountCents } })
      return { ...checkout, amountCents }
    },
  ),
  ownRoute(
    {
      method: 'post',
      path: '/v1/billing/portal',
      id: 'createBillingPortal',
      summary: 'Open the billing portal',
      description: 'For the roles `admin` and `owner`. The portal shows invoices and payment methods.',
      body: PortalBody,
      status: 201,
      answer: PortalAnswer,
    },
    async (context, { body: { returnUrl } }) => {
      const { env } = context
      const { tenantId, by } = context.get('caller')
      const provider = await providerOf(env)
      accept(await tenantStub(env, tenantId).identify(by, 'billing'))
      const customerId = await customerOf(env.DB, provider, tenantId)
      note(context, { target: customerId })
      return { url: await provider.createPortal(customerId, returnUrl) }
    },
  ),
  routesIn<AdminEnv>()(
    {
      method: 'post',
      path: '/webhooks/stripe',
      id: 'receiveStripeEvent',
      tag: 'Money',
      summary: 'Receive an event of Stripe',
      description:
        'Stripe calls this route. The header `stripe-signature` must match the body and be at most five minutes old.',
      auth: 'none',
      readsItself: true,
      answer: EventAnswer,
    },
    async ({ env, req, json }) => {
      const provider = await providerOf(env)
      const { bytes, hold } = await readJsonBody(req.raw, { bytesMax: budgets.paymentEventBytes.value })
      hold?.release()
      const event = await provider.readEvent(bytes, req.header('stripe-signature'))
      return json({ received: true, ...(await postPayment(env, provider, event)) })
    },
  ),
]
