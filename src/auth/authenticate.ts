/** The first room of the line: a key that this edge made, or a refusal, without any I/O. */
import { GatewayError } from '../http/errors.ts'
import { type ApiKey, presentedKey, readApiKey } from './api-key.ts'

export async function authenticate(headers: Headers, macKey: CryptoKey): Promise<ApiKey> {
  const presented = presentedKey(headers)
  if (!presented) {
    throw new GatewayError('invalid_api_key', 'no API key: send it as "authorization: Bearer <key>" or as "x-api-key"')
  }
  const key = await readApiKey(presented, macKey)
  if (!key) throw new GatewayError('invalid_api_key', 'this API key is not valid: check that it was copied whole')
  return key
}
