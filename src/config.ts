/** The gateway's settings, parsed once. A missing or wrong setting is named at the first request. */
import { faultText, readFields } from '../backends/model/field-fault.ts'
import { sealKey } from '../backends/wire/seal.ts'
import { Secret } from './auth/secret.ts'
import { GatewayEnvironment } from './gateway-environment.ts'

/** Variables and secrets as the platform binds them; see `gateway-environment.ts`. */
export interface ConfigVariables {
  MODELS: string
  KEY_SECRET: string
  FLEET_SECRET: string
  OPERATOR_KEY_SHA256: string
  /** "allow": webhooks may go to this machine over plain http. For `npm start` and tests only. */
  METER_LOOPBACK?: string
  /** "off": requests stay in their preferred pool while it has a worker. */
  SPILL?: string
  HOSTED_URL?: string
  HOSTED_MODEL?: string
  HOSTED_KEY?: string
}

/** A hosted API that serves when no worker can, for tenants that allow it. */
export interface HostedSettings {
  /** Without a trailing slash. */
  url: string
  /** The model's name at the hosted API. */
  model: string
  key: Secret
}

export interface Settings {
  models: readonly string[]
  macKey: CryptoKey
  fleet: Secret
  operatorKeyHash: string
  meterLoopback: boolean
  hosted: HostedSettings | undefined
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
  const { MODELS, KEY_SECRET, FLEET_SECRET, OPERATOR_KEY_SHA256, METER_LOOPBACK } = result.data
  return {
    models: MODELS.split(',').map((id) => id.trim()),
    macKey: await sealKey(new Uint8Array(new TextEncoder().encode(KEY_SECRET))),
    fleet: new Secret(FLEET_SECRET),
    operatorKeyHash: OPERATOR_KEY_SHA256,
    meterLoopback: METER_LOOPBACK === 'allow',
    hosted: hostedOf(result.data),
  }
}

function hostedOf({ HOSTED_URL, HOSTED_MODEL, HOSTED_KEY }: GatewayEnvironment): HostedSettings | undefined {
  const defined = [HOSTED_URL, HOSTED_MODEL, HOSTED_KEY].filter((value) => value !== undefined)
  if (HOSTED_URL && HOSTED_MODEL && HOSTED_KEY)
    return { url: HOSTED_URL.replace(/\/+$/, ''), model: HOSTED_MODEL, key: new Secret(HOSTED_KEY) }
  if (defined.length === 0) return undefined
  throw new Error('settings HOSTED_URL, HOSTED_MODEL, HOSTED_KEY: set all three, or none')
}
