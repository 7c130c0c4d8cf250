/**
 * Reads keys whose MAC is under one of several keys of the edge: the current one, and during a rotation of KEY_SECRET
 * also the previous one.
 */
import { type ApiKey, readApiKey } from './api-key.ts'
import { readOperatorKey } from './operator-key.ts'

/** @param macKeys the current key first */
export function readAnyApiKey(text: string, macKeys: readonly CryptoKey[]): Promise<ApiKey | undefined> {
  return first(macKeys, (macKey) => readApiKey(text, macKey))
}

export function readAnyOperatorKey(text: string, macKeys: readonly CryptoKey[]) {
  return first(macKeys, (macKey) => readOperatorKey(text, macKey))
}

async function first<Read>(
  macKeys: readonly CryptoKey[],
  read: (macKey: CryptoKey) => Promise<Read | undefined>,
): Promise<Read | undefined> {
  for (const macKey of macKeys) {
    const value = await read(macKey)
    if (value !== undefined) return value
  }
  return undefined
}
