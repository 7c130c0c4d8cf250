/** Payments by Stripe, with its own library. */
import type { Secret } from '../auth/secret.ts'
import { GatewayError, logError } from '../http/errors.ts'
import type { CheckoutOrder, PaymentEvent, PaymentProvider } from './payment-provider.ts'
import { readStripeEvent, requireDollars, tenantField } from './stripe-event.ts'
import { Stripe } from './stripe-library.js'

export interface StripeAccount {
  secretKey: Secret
  webhookSecret: Secret
  /** Another server than Stripe's own. */
  server?: { protocol: 'http' | 'https'; host: string; port: number }
}

/** Stripe recommends five minutes. A repeated delivery has a new signature. */
const signatureSecondsMax = 300
const timeoutMs = 10_000

export function stripeProvider({ secretKey, webhookSecret, server }: StripeAccount): PaymentProvider {
  const key = secretKey.reveal()
  const stripe = new Stripe(key, {
    httpClient: Stripe.createFetchHttpClient((...request) => fetch(...request)),
    maxNetworkRetries: 1,
    timeout: timeoutMs,
    telemetry: false,
    ...server,
  })
  const mode = /^[a-z]+_live_/.test(key) ? 'live' : 'test'
  return {
    name: 'stripe',
    mode,
    createCustomer: async (tenantId) => {
      const idempotencyKey = `tramontane-customer-${tenantId}`
      const metadata = { [tenantField]: tenantId }
      const customer = await call(stripe.customers.create({ description: tenantId, metadata }, { idempotencyKey }))
      return customer.id
    },
    createCheckout: async (order) => {
      const { id, url, expires_at } = await call(stripe.checkout.sessions.create(sessionOf(order)))
      if (url === null) throw unavailable(new Error('the session has no URL'))
      return { id, url, expiresAt: expires_at * 1_000 }
    },
    createPortal: async (customer, return_url) =>
      (await call(stripe.billingPortal.sessions.create({ customer, return_url }))).url,
    readEvent: async (bytes, signature) => {
      const fact = readStripeEvent(await verified(stripe, bytes, signature, webhookSecret))
      if (fact.kind !== 'returned') return fact
      return attributed(fact, (await call(stripe.paymentIntents.retrieve(fact.paymentId))).metadata)
    },
  }
}

function sessionOf({ tenantId, customerId, amountCents, successUrl, cancelUrl }: CheckoutOrder): object {
  const metadata = { [tenantField]: tenantId }
  const price = { currency: 'usd', unit_amount: amountCents, product_data: { name: 'API credit' } }
  return {
    mode: 'payment',
    customer: customerId,
    client_reference_id: tenantId,
    metadata,
    payment_intent_data: { metadata },
    line_items: [{ quantity: 1, price_data: price }],
    success_url: successUrl,
    ...(cancelUrl !== undefined && { cancel_url: cancelUrl }),
  }
}

async function verified(stripe: Stripe, bytes: Uint8Array, signature: string | undefined, secret: Secret) {
  try {
    const subtle = Stripe.createSubtleCryptoProvider()
    return await stripe.webhooks.constructEventAsync(
      bytes,
      signature ?? '',
      secret.reveal(),
      signatureSecondsMax,
      subtle,
    )
  } catch (cause) {
    const message =
      'stripe-signature: does not match the body and STRIPE_WEBHOOK_SECRET, or is older than five minutes. ' +
      'Copy the signing secret of this endpoint from Stripe, and check the clock.'
    throw new GatewayError('invalid_value', message, { param: 'stripe-signature', cause })
  }
}

type Fact = Extract<ReturnType<typeof readStripeEvent>, { kind: 'returned' }>

function attributed({ currency, ...fact }: Fact, metadata: Record<string, string> | null): PaymentEvent {
  const tenantId = metadata?.[tenantField]
  if (tenantId === undefined) return { kind: 'ignored', reason: 'the payment is not one of this gateway' }
  requireDollars(currency)
  return { ...fact, tenantId }
}

async function call<Value>(request: Promise<Value>): Promise<Value> {
  try {
    return await request
  } catch (error) {
    throw unavailable(error)
  }
}

/** The library's message may name the key, so only the log has it. */
function unavailable(cause: unknown): GatewayError {
  logError(
    'Stripe',
    cause instanceof Stripe.errors.StripeError ? `${cause.type} ${cause.statusCode} ${cause.code}` : cause,
  )
  const message = 'The payment provider did not answer as expected. Retry later; nothing was charged.'
  return new GatewayError('server_is_overloaded', message, { retryAfterMs: 5_000, cause })
}
