import { inspect } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { sealKey } from '../../backends/wire/seal.ts'
import { formatWorkerKey, parseWorkerKey } from '../../backends/wire/worker-key.ts'
import { newApiKey, presentedKey, readApiKey } from '../../src/auth/api-key.ts'
import { constantTimeEqual, Secret } from '../../src/auth/secret.ts'
import { newWorkerKey } from '../../src/auth/worker-key.ts'

let macKey: CryptoKey
const random = Uint8Array.from({ length: 20 }, (_, index) => index * 13)

beforeAll(async () => {
  macKey = await sealKey(new Uint8Array(32).fill(7))
})

describe('API keys', () => {
  it('[KEY1] a new key reads back as its tenant, its id and the hash of its secret', async () => {
    const created = await newApiKey('live', 'demo', 'key1', random, macKey)
    expect(await readApiKey(created.key.reveal(), macKey)).toEqual({
      tenantId: 'demo',
      keyId: 'key1',
      secretHash: created.secretHash,
    })
    expect(created.key.reveal()).toContain(created.prefix)
  })

  it('[KEY2] a key with any one character changed is refused', async () => {
    const text = (await newApiKey('live', 'demo', 'key1', random, macKey)).key.reveal()
    for (let index = 0; index < text.length; index++) {
      const changed = text.slice(0, index) + (text[index] === 'a' ? 'b' : 'a') + text.slice(index + 1)
      expect(await readApiKey(changed, macKey), changed).toBeUndefined()
    }
    const other = await sealKey(new Uint8Array(32).fill(8))
    expect(await readApiKey(text, other)).toBeUndefined()
  })

  it('[KEY3] a key is read from authorization and from x-api-key', () => {
    expect(presentedKey(new Headers({ authorization: 'bearer abc' }))).toBe('abc')
    expect(presentedKey(new Headers({ 'x-api-key': 'abc' }))).toBe('abc')
    expect(presentedKey(new Headers({ authorization: 'Basic abc' }))).toBeUndefined()
  })

  it('[KEY4] a secret never prints its value', () => {
    const secret = new Secret('hunter2')
    const ways = [
      `${secret}`,
      String(secret),
      JSON.stringify({ secret }),
      inspect(secret),
      inspect({ secret }, { showHidden: true }),
    ]
    for (const text of ways) expect(text).not.toContain('hunter2')
  })

  it('[KEY5] a comparison covers the whole value', () => {
    expect(constantTimeEqual('abc', 'abc')).toBe(true)
    expect(constantTimeEqual('abc', 'abd')).toBe(false)
    expect(constantTimeEqual('abc', 'abcd')).toBe(false)
  })

  it('[KEY6] a worker key survives its text form, and each worker and epoch has its own', async () => {
    const fleet = new Secret('f'.repeat(40))
    const text = await newWorkerKey(fleet, 'gpu-1', 3)
    const parsed = parseWorkerKey(text)
    expect(parsed && formatWorkerKey(parsed)).toBe(text)
    expect(await newWorkerKey(fleet, 'gpu-1', 4)).not.toBe(text)
    expect(await newWorkerKey(fleet, 'gpu-2', 3)).not.toContain(text.slice(-43))
    expect(parseWorkerKey('tw_UPPER_1_x')).toBeUndefined()
  })
})
