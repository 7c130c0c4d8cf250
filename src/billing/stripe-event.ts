/** Reads verified Stripe events: only payments that this gateway began, in US dollars. */
import { z } from 'zod'
import { GatewayError } from '../http/errors.ts'
import { parse } from '../http/parse.ts'
import type { PaymentEvent } from './payment-provider.ts'

/** The metadata of every payment that the gateway begins. Its value is the tenant's id. */
export const tenantField = 'tramontane_tenant'

const StripeId = z.string().regex(/^\w{1,48}$/, 'must be an id of at most 48 letters, digits or _')
const Cents = z.int().min(0).max(99_999_999)
const Metadata = z.record(z.string(), z.string()).nullish()

const Session = z.object({
  mode: z.string(),
  payment_status: z.string(),
  payment_intent: StripeId.nullish(),
  client_reference_id: z.string().nullish(),
  metadata: Metadata,
  currency: z.string().nullish(),
  amount_total: Cents.nullish(),
})
const Charge = z.object({
  id: StripeId,
  payment_intent: StripeId.nullish(),
  currency: z.string(),
  amount_refunded: Cents,
})
const Dispute = z.object({
  id: StripeId,
  payment_intent: StripeId.nullish(),
  currency: z.string(),
  amount: Cents,
  status: z.string(),
})

/** What a verified event means. The tenant of a returned payment is in the payment itself: the caller reads it. */
export type StripeFact = Exclude<PaymentEvent, { kind: 'returned' }> | Unattributed
type Unattributed = Omit<Extract<PaymentEvent, { kind: 'returned' }>, 'tenantId'> & { currency: string }

export function readStripeEvent({ type, data }: { type: string; data: { object: unknown } }): StripeFact {
  switch (type) {
    case 'checkout.session.completed':
    case 'checkout.session.async_payment_succeeded':
      return paid(parse(data.object, Session))
    case 'charge.refunded': {
      const { id, payment_intent, currency, amount_refunded } = parse(data.object, Charge)
      return returned('refund', id, payment_intent, currency, amount_refunded)
    }
    case 'charge.dispute.closed': {
      const { id, payment_intent, currency, amount, status } = parse(data.object, Dispute)
      if (status !== 'lost') return { kind: 'ignored', reason: `the dispute is ${status}` }
      return returned('lost dispute', id, payment_intent, currency, amount)
    }
    default:
      return { kind: 'ignored', reason: 'the gateway uses no events of this type' }
  }
}

/** Refuses another currency than US dollars. */
export function requireDollars(currency: string | null | undefined): void {
  if (currency === 'usd') return
  const message = 'currency: must be usd. Credit is in US dollars; refund this payment in Stripe.'
  throw new GatewayError('invalid_value', message, { param: 'currency' })
}

function paid(session: z.infer<typeof Session>): StripeFact {
  const { mode, payment_status, payment_intent, client_reference_id, metadata, currency, amount_total } = session
  const tenantId = metadata?.[tenantField]
  // A payment link of the same account has no such metadata, and its client_reference_id is the visitor's own text.
  if (tenantId === undefined) return { kind: 'ignored', reason: 'the payment is not one of this gateway' }
  if (client_reference_id !== tenantId) {
    const message = `client_reference_id: must equal metadata.${tenantField}. Create sessions with POST /v1/billing/checkout.`
    throw new GatewayError('invalid_value', message, { param: 'client_reference_id' })
  }
  if (mode !== 'payment') return { kind: 'ignored', reason: `the mode of the session is ${mode}` }
  if (payment_status !== 'paid') return { kind: 'ignored', reason: `the payment is ${payment_status}` }
  requireDollars(currency)
  if (!payment_intent || !amount_total) {
    const message = 'payment_intent, amount_total: a paid session must have both. Send the event as Stripe made it.'
    throw new GatewayError('invalid_value', message, { param: 'payment_intent' })
  }
  return { kind: 'paid', tenantId, paymentId: payment_intent, amountCents: amount_total }
}

function returned(
  why: Unattributed['why'],
  sourceId: string,
  paymentId: string | null | undefined,
  currency: string,
  totalCents: number,
): StripeFact {
  if (!paymentId) return { kind: 'ignored', reason: 'the charge is not one of Checkout' }
  return { kind: 'returned', why, sourceId, paymentId, currency, totalCents }
}
