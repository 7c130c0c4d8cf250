/** Returns the request's API key and sender, or refuses a key that this edge did not create. No I/O. */
import { GatewayError } from '../http/errors.ts'
import { type ApiKey, presentedKey } from './api-key.ts'
import { clientAddress } from './client-address.ts'
import { readAnyApiKey } from './mac-keys.ts'

/** The settings that identify a client. */
export interface ClientSettings {
  /** The keys whose MAC is accepted, the current one first. */
  macKeys: readonly CryptoKey[]
  /** See client-address.ts. */
  addressHeader: string | null
}

export async function authenticate(headers: Headers, { macKeys, addressHeader }: ClientSettings): Promise<ApiKey> {
  const presented = presentedKey(headers)
  if (!presented) {
    throw new GatewayError('invalid_api_key', 'No API key. Send it as "authorization: Bearer <key>" or as "x-api-key".')
  }
  const key = await readAnyApiKey(presented, macKeys)
  if (!key) throw new GatewayError('invalid_api_key', 'The API key is not valid. Check that you copied all of it.')
  return { ...key, address: clientAddress(headers, addressHeader) }
}
