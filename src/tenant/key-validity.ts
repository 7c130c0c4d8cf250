/** Whether a presented secret is that of a valid key, from an address that the key allows. */
import { cleanText } from '../../backends/model/clean-text.ts'
import { isInRanges } from '../auth/ip-range.ts'
import { constantTimeEqual } from '../auth/secret.ts'
import type { KeyRow } from './store/key-rows.ts'

export interface PresentedKey {
  secretHash: string
  /** IP address of the client, if it is known. */
  address?: string | null
}

export interface KeyFault {
  code: 'invalid_api_key' | 'permission_denied'
  message: string
}

/** Returns why the key is not valid; undefined if it is. Only a valid key learns that its address is not allowed. */
export function checkKey(
  key: KeyRow | undefined,
  { secretHash, address = null }: PresentedKey,
  now: number,
): KeyFault | undefined {
  if (!key || !hasSecret(key, secretHash, now))
    return invalid('API key not found. Check that it was copied completely and was not rotated.')
  if (key.revokedAt !== null) return invalid('This key was revoked. Use another key.')
  if (key.expiresAt !== null && key.expiresAt <= now) return invalid('This key has expired. Create a new key.')
  const { allowedIps } = key
  if (allowedIps === null || (address !== null && isInRanges(address, allowedIps))) return undefined
  const from = address === null ? 'an unknown address' : cleanText(address, addressCharactersMax)
  const message = `This key may not be used from ${from}. Use an allowed address, or add this one to allowed_ips of the key.`
  return { code: 'permission_denied', message }
}

const addressCharactersMax = 64

function invalid(message: string): KeyFault {
  return { code: 'invalid_api_key', message }
}

/** Always compares both secrets, so that the response time reveals nothing. */
function hasSecret(key: KeyRow, secretHash: string, now: number): boolean {
  const current = constantTimeEqual(key.secretHash, secretHash)
  const previous = constantTimeEqual(key.previous?.secretHash ?? '', secretHash)
  return current || (previous && key.previous !== null && now < key.previous.until)
}
