/** The gateway’s variables and secrets: their schema and their descriptions. */
import { z } from 'zod'

/** The descriptions are the text of the settings guide. */
export const GatewayEnvironment = z.object({
  MODELS: z
    .string()
    .min(1, 'name at least one model id')
    .describe(
      'Model ids that the gateway offers, separated by commas. The first is the one in documentation and examples.',
    ),
  KEY_SECRET: z
    .string()
    .min(32, 'must be at least 32 characters: wrangler secret put KEY_SECRET')
    .describe(
      'Secret. Signs API keys and operator keys. A new value makes all of them invalid, except during a rotation with `KEY_SECRET_PREVIOUS`.',
    ),
  KEY_SECRET_PREVIOUS: z
    .string()
    .min(32, 'must be at least 32 characters: wrangler secret put KEY_SECRET_PREVIOUS')
    .optional()
    .describe('Secret. The value of `KEY_SECRET` before its rotation. Keys that it signed stay valid while it is set.'),
  FLEET_SECRET: z
    .string()
    .min(32, 'must be at least 32 characters: wrangler secret put FLEET_SECRET')
    .describe(
      'Secret. Signs worker keys and dispatches. A new value makes every worker key invalid, except during a rotation with `FLEET_SECRET_PREVIOUS`.',
    ),
  FLEET_SECRET_PREVIOUS: z
    .string()
    .min(32, 'must be at least 32 characters: wrangler secret put FLEET_SECRET_PREVIOUS')
    .optional()
    .describe(
      'Secret. The value of `FLEET_SECRET` before its rotation. Worker keys and receipts that it signed stay valid while it is set.',
    ),
  OPERATOR_KEY_SHA256: z
    .string()
    .regex(
      /^[0-9a-f]{64}(,[0-9a-f]{64})?$/,
      'must be a SHA-256 in hex, or two with a comma between them: wrangler secret put OPERATOR_KEY_SHA256',
    )
    .describe(
      'Secret. SHA-256 in hex of the first operator key, which has every scope. During its rotation two, separated by a comma.',
    ),
  CLIENT_ADDRESS_HEADER: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, 'must be the name of a header in lower case, or none')
    .default('cf-connecting-ip')
    .describe(
      'Header with the IP address of the client, which the proxy in front of the gateway sets and no client can. Default: `cf-connecting-ip`, which Cloudflare sets. `none`: there is no proxy, and every client has the address 127.0.0.1.',
    ),
  METER_LOOPBACK: z
    .literal('allow')
    .optional()
    .describe('Allows webhooks to this machine over plain http. For `npm start` and tests only.'),
  SPILL: z
    .enum(['on', 'off'])
    .optional()
    .describe('Default: `on`. With `off`, requests stay in their preferred pool while it has a worker.'),
  HOSTED_URL: z
    .url({ protocol: /^https?$/, error: 'must be the base address of a hosted API' })
    .optional()
    .describe('Base address of a hosted API that serves when no worker is available. Set all three, or none.'),
  HOSTED_MODEL: z.string().min(1).max(128).optional().describe('The hosted API’s own name of the model.'),
  HOSTED_KEY: z.string().min(1).max(1_024).optional().describe('Secret. The key of the hosted API.'),
  STRIPE_SECRET_KEY: z
    .string()
    .regex(
      /^[a-z]+_(test|live)_\w{1,500}$/,
      'must be a secret or restricted key of Stripe: wrangler secret put STRIPE_SECRET_KEY',
    )
    .optional()
    .describe(
      'Secret. The secret or restricted key of a Stripe account, with which tenants buy credit. Set both, or none.',
    ),
  STRIPE_WEBHOOK_SECRET: z
    .string()
    .regex(
      /^whsec_\w{1,500}$/,
      'must be the signing secret of the endpoint in Stripe: wrangler secret put STRIPE_WEBHOOK_SECRET',
    )
    .optional()
    .describe('Secret. The signing secret of the endpoint `/webhooks/stripe` in Stripe.'),
})
export type GatewayEnvironment = z.infer<typeof GatewayEnvironment>
