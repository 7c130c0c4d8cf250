/**
 * Whether a key that this edge made is still good: its tenant knows. One request asks at most once, before it reads a
 * large body or parses anything.
 */
import type { Env } from '../env.ts'
import { GatewayError } from '../http/errors.ts'
import type { Identity, TenantResult } from '../tenant/desk.ts'
import type { Right } from '../tenant/roles.ts'
import type { ApiKey } from './api-key.ts'
import { KnownKeys } from './known-keys.ts'

const known = new KnownKeys()

export interface KeyCheck {
  /** Asks the tenant, once. Rejects with 401 or 403 where the key may not ask the model. */
  ask(): Promise<KeyIdentity>
  /** The same, unless this isolate knows the key as good. */
  askIfUnknown(): Promise<void>
  /** The tenant refused the key in another call. */
  refused(error: unknown): void
}

export type KeyIdentity = Identity & {
  /** The models that the key may ask; null for all. */
  models?: string[] | null
  /** Unix milliseconds; null for never. */
  expiresAt?: number | null
}

export function keyCheck(env: Env, key: ApiKey): KeyCheck {
  let asked: Promise<KeyIdentity> | undefined
  const ask = () => {
    asked ??= identify(env, key)
    return asked
  }
  return {
    ask,
    async askIfUnknown() {
      if (!known.good(key, Date.now())) await ask()
    },
    refused(error) {
      if (isKeyRefusal(error)) known.drop(key)
    },
  }
}

/** For routes that a key which only reads may use too: such a key has no right to ask the model. */
export async function identifyReader(env: Env, key: ApiKey): Promise<KeyIdentity> {
  try {
    return await identify(env, key)
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== 'permission_denied') throw error
    const reader = await ask(env, key, 'read-usage')
    if (!reader.ok || reader.value.role !== 'viewer') throw error
    return reader.value
  }
}

async function identify(env: Env, key: ApiKey): Promise<KeyIdentity> {
  const answer = await ask(env, key, 'ask')
  if (answer.ok) {
    known.confirm(key, Date.now(), answer.value.expiresAt ?? null)
    return answer.value
  }
  known.drop(key)
  throw new GatewayError(answer.code, answer.message, { param: answer.param })
}

function ask(env: Env, { tenantId, keyId, secretHash }: ApiKey, right: Right): Promise<TenantResult<KeyIdentity>> {
  return env.TENANT.getByName(tenantId).identify({ kind: 'key', keyId, secretHash }, right)
}

function isKeyRefusal(error: unknown): boolean {
  return error instanceof GatewayError && (error.code === 'invalid_api_key' || error.code === 'permission_denied')
}
