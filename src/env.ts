/** What the Worker is bound to, parsed once: settings that a deployment lacks are named at the first request. */
import { z } from 'zod'
import { sealKey } from '../backends/protocol/seal.ts'
import { Secret } from './auth/secret.ts'
import type { PoolObject } from './routing/pool-object.ts'
import type { TenantObject } from './tenant/tenant-object.ts'

export interface Env {
  TENANT: DurableObjectNamespace<TenantObject>
  POOL: DurableObjectNamespace<PoolObject>
  /** The operator's books; nothing on a chat request's way touches them. */
  DB: D1Database
  MODELS: string
  KEY_SECRET: string
  FLEET_SECRET: string
  OPERATOR_KEY_SHA256: string
  /** "allow": meter events may go to this machine over plain http. For `npm start` and tests only. */
  METER_LOOPBACK?: string
}

const Settings = z.object({
  MODELS: z.string().min(1, 'name at least one model id'),
  KEY_SECRET: z.string().min(32, 'must be at least 32 characters: wrangler secret put KEY_SECRET'),
  FLEET_SECRET: z.string().min(32, 'must be at least 32 characters: wrangler secret put FLEET_SECRET'),
  OPERATOR_KEY_SHA256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex: wrangler secret put OPERATOR_KEY_SHA256'),
  METER_LOOPBACK: z.literal('allow').optional(),
})

export interface Settings {
  models: readonly string[]
  macKey: CryptoKey
  fleet: Secret
  operatorKeyHash: string
  meterLoopback: boolean
}

let parsed: Promise<Settings> | undefined

/** Rejects with a sentence that names the missing setting. */
export function settings(env: Env): Promise<Settings> {
  parsed ??= parse(env)
  return parsed
}

async function parse(env: Env): Promise<Settings> {
  const result = Settings.safeParse(env)
  if (!result.success) {
    const issue = result.error.issues[0]
    throw new Error(`setting ${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { MODELS, KEY_SECRET, FLEET_SECRET, OPERATOR_KEY_SHA256, METER_LOOPBACK } = result.data
  return {
    models: MODELS.split(',').map((id) => id.trim()),
    macKey: await sealKey(new Uint8Array(new TextEncoder().encode(KEY_SECRET))),
    fleet: new Secret(FLEET_SECRET),
    operatorKeyHash: OPERATOR_KEY_SHA256,
    meterLoopback: METER_LOOPBACK === 'allow',
  }
}
