/** Creates API keys from the runtime's randomness. */

import { base32, idPattern, type KeyMode, newApiKey } from '../auth/api-key.ts'
import type { Secret } from '../auth/secret.ts'
import { settings } from '../config.ts'
import type { NewSecret } from '../tenant/keys.ts'
import type { AdminBindings } from './context.ts'

export interface NewApiKey {
  keyId: string
  /** Revealed only in the answer to the caller who created it. */
  key: Secret
  secret: NewSecret
}

/** Creates a key with a new id or, for a rotation, a new secret under `keyId`. */
export async function createKey(
  env: AdminBindings,
  tenantId: string,
  mode: KeyMode,
  keyId?: string,
): Promise<NewApiKey> {
  const { macKey } = await settings(env)
  const random = crypto.getRandomValues(new Uint8Array(30))
  const id = keyId !== undefined && idPattern.test(keyId) ? keyId : base32(random.subarray(20))
  const { key, prefix, secretHash } = await newApiKey(mode, tenantId, id, random, macKey)
  return { keyId: id, key, secret: { prefix, secretHash } }
}

export function modeOf(prefix: string): KeyMode {
  return prefix.startsWith('tm_test_') ? 'test' : 'live'
}
