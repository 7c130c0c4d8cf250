/** Returns the request's API key, or refuses a key that this edge did not create. No I/O. */
import { GatewayError } from '../http/errors.ts'
import { type ApiKey, presentedKey, readApiKey } from './api-key.ts'

export async function authenticate(headers: Headers, macKey: CryptoKey): Promise<ApiKey> {
  const presented = presentedKey(headers)
  if (!presented) {
    throw new GatewayError('invalid_api_key', 'No API key. Send it as "authorization: Bearer <key>" or as "x-api-key".')
  }
  const key = await readApiKey(presented, macKey)
  if (!key) throw new GatewayError('invalid_api_key', 'The API key is not valid. Check that you copied all of it.')
  return key
}
