/** The part of Stripe's library that the gateway and its tests use. */
export declare class Stripe {
  constructor(secretKey: string, options: StripeOptions)
  static createFetchHttpClient(fetchFunction: typeof fetch): object
  static createSubtleCryptoProvider(): object
  static errors: { StripeError: new () => StripeError; StripeSignatureVerificationError: new () => StripeError }
  static webhooks: StripeWebhooks
  checkout: {
    sessions: { create(parameters: object): Promise<{ id: string; url: string | null; expires_at: number }> }
  }
  billingPortal: { sessions: { create(parameters: object): Promise<{ url: string }> } }
  customers: { create(parameters: object, options: { idempotencyKey: string }): Promise<{ id: string }> }
  paymentIntents: { retrieve(id: string): Promise<{ metadata: Record<string, string> | null }> }
  webhooks: StripeWebhooks
}

interface StripeOptions {
  httpClient: object
  maxNetworkRetries: number
  /** In milliseconds. */
  timeout: number
  telemetry: boolean
  host?: string
  port?: number
  protocol?: 'http' | 'https'
}

interface StripeError extends Error {
  type: string
  code?: string
  statusCode?: number
}

interface StripeWebhooks {
  /** Rejects with a `StripeSignatureVerificationError` for a wrong signature or one older than `tolerance` seconds. */
  constructEventAsync(
    payload: Uint8Array,
    header: string,
    secret: string,
    tolerance: number,
    cryptoProvider: object,
  ): Promise<{ id: string; type: string; data: { object: unknown } }>
  generateTestHeaderStringAsync(options: {
    payload: string
    secret: string
    timestamp?: number
    cryptoProvider: object
  }): Promise<string>
}
