/**
 * Checks with the tenant whether a key of this edge is still valid. One request makes at most one such call, before it
 * reads a large body or parses anything.
 */

import type { ApiKey } from '../auth/api-key.ts'
import { KnownKeys } from '../auth/known-keys.ts'
import { GatewayError } from '../http/errors.ts'
import type { Identity, TenantResult } from './permissions.ts'
import type { Right } from './roles.ts'
import type { TenantBinding } from './stub.ts'

const known = new KnownKeys()

export interface KeyCheck {
  /** Calls the tenant, once. Rejects with 401 or 403 when the key may not use the model. */
  ask(): Promise<KeyIdentity>
  /** The same, unless this isolate knows that the key is valid. */
  askIfUnknown(): Promise<void>
  /** Reports an error of another call; if the tenant refused the key, this isolate forgets it. */
  refused(error: unknown): void
}

export type KeyIdentity = Identity & {
  /** The models that the key may use; null for all. */
  models?: string[] | null
  /** Unix milliseconds; null for never. */
  expiresAt?: number | null
}

export function keyCheck(env: TenantBinding, key: ApiKey): KeyCheck {
  let pending: Promise<KeyIdentity> | undefined
  const ask = () => {
    pending ??= identify(env, key)
    return pending
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

/** For routes that are also open to read-only keys, which have no right to use the model. */
export async function identifyReader(env: TenantBinding, key: ApiKey): Promise<KeyIdentity> {
  try {
    return await identify(env, key)
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== 'permission_denied') throw error
    const reader = await callTenant(env, key, 'read-usage')
    if (!reader.ok || reader.value.role !== 'viewer') throw error
    return reader.value
  }
}

async function identify(env: TenantBinding, key: ApiKey): Promise<KeyIdentity> {
  const answer = await callTenant(env, key, 'ask')
  if (answer.ok) {
    known.confirm(key, Date.now(), answer.value.expiresAt ?? null)
    return answer.value
  }
  known.drop(key)
  throw new GatewayError(answer.code, answer.message, { param: answer.param })
}

function callTenant(
  env: TenantBinding,
  { tenantId, ...key }: ApiKey,
  right: Right,
): Promise<TenantResult<KeyIdentity>> {
  return env.TENANT.getByName(tenantId).identify({ kind: 'key', ...key }, right)
}

function isKeyRefusal(error: unknown): boolean {
  return error instanceof GatewayError && (error.code === 'invalid_api_key' || error.code === 'permission_denied')
}
