/** The gateway without the settings of a payment provider. */
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { settings } from '../../src/config.ts'
import { openKey, openTenant, send } from './client.ts'

describe('billing without its settings', () => {
  it('[BIL9] every billing route returns 404 `not_configured` with the names of the settings', async () => {
    const { STRIPE_SECRET_KEY: _, STRIPE_WEBHOOK_SECRET: __, ...without } = env
    // Parsed once: every later request has these settings.
    expect((await settings(without)).stripe).toBeUndefined()
    await openTenant('poor')
    const { apiKey } = await openKey('poor', { role: 'owner' })
    const page = 'https://app.example.com'
    for (const [path, body, key] of [
      ['/v1/billing/checkout', { amount_cents: 500, success_url: page }, apiKey],
      ['/v1/billing/portal', { return_url: page }, apiKey],
      ['/webhooks/stripe', {}, null],
    ] as const) {
      const answer = await send('POST', path, body, key)
      expect(answer, path).toMatchObject({ status: 404, body: { code: 'not_configured' } })
      expect(answer.body.message).toContain('STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET')
    }
  })
})
