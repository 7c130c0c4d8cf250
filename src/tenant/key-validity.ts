/** Whether a presented secret is that of a valid key. */
import { constantTimeEqual } from '../auth/secret.ts'
import type { KeyRow } from './store/key-rows.ts'

/** Returns the reason why the key is not valid; undefined if it is. */
export function checkKey(key: KeyRow | undefined, secretHash: string, now: number): string | undefined {
  if (!key || !hasSecret(key, secretHash, now))
    return 'API key not found. Check that it was copied completely and was not rotated.'
  if (key.revokedAt !== null) return 'This key was revoked. Use another key.'
  if (key.expiresAt !== null && key.expiresAt <= now) return 'This key has expired. Create a new key.'
  return undefined
}

/** Always compares both secrets, so that the response time reveals nothing. */
function hasSecret(key: KeyRow, secretHash: string, now: number): boolean {
  const current = constantTimeEqual(key.secretHash, secretHash)
  const previous = constantTimeEqual(key.previous?.secretHash ?? '', secretHash)
  return current || (previous && key.previous !== null && now < key.previous.until)
}
