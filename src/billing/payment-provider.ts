/** The interface of a payment provider. The gateway's credits depend on it, not on a provider's library. */

export interface PaymentProvider {
  /** The provider's name, in order ids and notes. */
  readonly name: string
  /** `live`, or `test` where no money moves. A customer of one is unknown in the other. */
  readonly mode: 'live' | 'test'
  /** Creates the customer of a tenant. Concurrent calls for one tenant return the same customer. */
  createCustomer(tenantId: string): Promise<string>
  createCheckout(order: CheckoutOrder): Promise<Checkout>
  /** Returns the URL of a page on which the customer sees invoices and payment methods. */
  createPortal(customerId: string, returnUrl: string): Promise<string>
  /** Verifies a webhook. Rejects with `invalid_value` for a wrong or an old signature. */
  readEvent(bytes: Uint8Array, signature: string | undefined): Promise<PaymentEvent>
}

export interface CheckoutOrder {
  tenantId: string
  customerId: string
  /** Whole US cents. */
  amountCents: number
  successUrl: string
  cancelUrl: string | undefined
}

interface Checkout {
  id: string
  url: string
  /** Unix milliseconds. */
  expiresAt: number
}

export type PaymentEvent =
  | { kind: 'ignored'; reason: string }
  | { kind: 'paid'; tenantId: string; paymentId: string; amountCents: number }
  | ReturnedPayment

/** A payment that was returned to the customer, in part or whole. */
interface ReturnedPayment {
  kind: 'returned'
  tenantId: string
  paymentId: string
  /** The charge that was refunded, or the dispute that was lost. */
  sourceId: string
  why: 'refund' | 'lost dispute'
  /** All that this source has returned so far, in whole US cents. */
  totalCents: number
}
