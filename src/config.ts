/** The gateway's settings, parsed once. A missing or wrong setting is named at the first request. */
import { faultText, readFields } from '../backends/model/field-fault.ts'
import { sealKey } from '../backends/wire/seal.ts'
import type { ClientSettings } from './auth/authenticate.ts'
import { Secret } from './auth/secret.ts'
import { GatewayEnvironment } from './gateway-environment.ts'

/** Variables and secrets as the platform binds them; see `gateway-environment.ts`. */
export interface ConfigVariables {
  MODELS: string
  KEY_SECRET: string
  /** The secret before a rotation: its keys stay valid, and new ones use KEY_SECRET. */
  KEY_SECRET_PREVIOUS?: string
  FLEET_SECRET: string
  FLEET_SECRET_PREVIOUS?: string
  OPERATOR_KEY_SHA256: string
  /** Header with the client's IP address, or "none"; see auth/client-address.ts. */
  CLIENT_ADDRESS_HEADER?: string
  /** "allow": webhooks may go to this machine over plain http. For `npm start` and tests only. */
  METER_LOOPBACK?: string
  /** "off": requests stay in their preferred pool while it has a worker. */
  SPILL?: string
  HOSTED_URL?: string
  HOSTED_MODEL?: string
  HOSTED_KEY?: string
  STRIPE_SECRET_KEY?: string
  STRIPE_WEBHOOK_SECRET?: string
}

/** A hosted API that serves when no worker can, for tenants that allow it. */
export interface HostedSettings {
  /** Without a trailing slash. */
  url: string
  /** The model's name at the hosted API. */
  model: string
  key: Secret
}

export interface Settings extends ClientSettings {
  models: readonly string[]
  /** Signs new API keys and operator keys. */
  macKey: CryptoKey
  /** Signs new worker keys and dispatches. */
  fleet: Secret
  /** The secrets whose worker keys and dispatch proofs are accepted, the current one first. */
  fleetSecrets: readonly Secret[]
  /** Of the first operator key; during its rotation also of the next one. */
  operatorKeyHashes: readonly string[]
  meterLoopback: boolean
  hosted: HostedSettings | undefined
  /** The account with which tenants buy credit. */
  stripe: StripeSettings | undefined
}

interface StripeSettings {
  secretKey: Secret
  webhookSecret: Secret
}

let parsed: Promise<Settings> | undefined

/** Rejects with a message that names the missing or invalid setting. */
export function settings(env: ConfigVariables): Promise<Settings> {
  parsed ??= parse(env)
  return parsed
}

async function parse(env: ConfigVariables): Promise<Settings> {
  const result = readFields(GatewayEnvironment, env)
  if (!result.ok) throw new Error(`setting ${faultText(result.fault)}`)
  const { MODELS, OPERATOR_KEY_SHA256, METER_LOOPBACK, CLIENT_ADDRESS_HEADER } = result.data
  const { KEY_SECRET, KEY_SECRET_PREVIOUS, FLEET_SECRET, FLEET_SECRET_PREVIOUS } = result.data
  const macKey = await macKeyOf(KEY_SECRET)
  const fleet = new Secret(FLEET_SECRET)
  return {
    models: MODELS.split(',').map((id) => id.trim()),
    macKey,
    macKeys: KEY_SECRET_PREVIOUS === undefined ? [macKey] : [macKey, await macKeyOf(KEY_SECRET_PREVIOUS)],
    fleet,
    fleetSecrets: FLEET_SECRET_PREVIOUS === undefined ? [fleet] : [fleet, new Secret(FLEET_SECRET_PREVIOUS)],
    addressHeader: CLIENT_ADDRESS_HEADER === 'none' ? null : CLIENT_ADDRESS_HEADER,
    operatorKeyHashes: OPERATOR_KEY_SHA256.split(','),
    meterLoopback: METER_LOOPBACK === 'allow',
    hosted: hostedOf(result.data),
    stripe: stripeOf(result.data),
  }
}

function macKeyOf(secret: string): Promise<CryptoKey> {
  return sealKey(new Uint8Array(new TextEncoder().encode(secret)))
}

function hostedOf({ HOSTED_URL, HOSTED_MODEL, HOSTED_KEY }: GatewayEnvironment): HostedSettings | undefined {
  const defined = [HOSTED_URL, HOSTED_MODEL, HOSTED_KEY].filter((value) => value !== undefined)
  if (HOSTED_URL && HOSTED_MODEL && HOSTED_KEY)
    return { url: HOSTED_URL.replace(/\/+$/, ''), model: HOSTED_MODEL, key: new Secret(HOSTED_KEY) }
  if (defined.length === 0) return undefined
  throw new Error('settings HOSTED_URL, HOSTED_MODEL, HOSTED_KEY: set all three, or none')
}

function stripeOf({ STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET }: GatewayEnvironment): StripeSettings | undefined {
  if (STRIPE_SECRET_KEY && STRIPE_WEBHOOK_SECRET)
    return { secretKey: new Secret(STRIPE_SECRET_KEY), webhookSecret: new Secret(STRIPE_WEBHOOK_SECRET) }
  if (!STRIPE_SECRET_KEY && !STRIPE_WEBHOOK_SECRET) return undefined
  throw new Error('settings STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET: set both, or none')
}
