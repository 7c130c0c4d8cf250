/** The origins that a tenant's setting `corsOrigins` allows; none without a valid key. */
import { presentedKey, readApiKey } from '../auth/api-key.ts'
import { type ConfigVariables, settings } from '../config.ts'
import type { TenantBinding } from './stub.ts'

export async function corsOrigins(headers: Headers, env: ConfigVariables & TenantBinding): Promise<string[]> {
  const { macKey } = await settings(env)
  const key = await readApiKey(presentedKey(headers) ?? '', macKey)
  return key ? env.TENANT.getByName(key.tenantId).origins() : []
}
