/** The origins that a tenant's setting `cors_origins` allows; none without a valid key. */
import { presentedKey } from '../auth/api-key.ts'
import { readAnyApiKey } from '../auth/mac-keys.ts'
import { type ConfigVariables, settings } from '../config.ts'
import type { TenantBinding } from './stub.ts'

export async function corsOrigins(headers: Headers, env: ConfigVariables & TenantBinding): Promise<string[]> {
  const { macKeys } = await settings(env)
  const key = await readAnyApiKey(presentedKey(headers) ?? '', macKeys)
  return key ? env.TENANT.getByName(key.tenantId).origins() : []
}
