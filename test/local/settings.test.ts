/** The settings of `npm start`. */
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { readSettings } from '../../src/local/settings.ts'

const file = fileURLToPath(import.meta.url)

describe('the settings of npm start', () => {
  it('[RUN7] the edge offers the toy model only if no variable gives the workers another model or engine', () => {
    const rows: [variables: Record<string, string>, modelId: string][] = [
      [{}, 'tramontane-tiny'],
      [{ TRAMONTANE_BACKEND: 'llama-cpp' }, 'tramontane-tiny'],
      [{ TRAMONTANE_BACKEND: 'vllm' }, 'mistral-small-4'],
      [{ TRAMONTANE_MODEL: file }, 'mistral-small-4'],
      [{ TRAMONTANE_ENGINE_URL: 'http://127.0.0.1:1' }, 'mistral-small-4'],
      [{ TRAMONTANE_MODEL: file, TRAMONTANE_MODEL_ID: 'mine' }, 'mine'],
    ]
    expect(rows.map(([variables]) => [variables, readSettings(variables).modelId])).toEqual(rows)
  })

  it('[RUN7] a model file that is missing is refused by its path, and a model id of another engine is not', () => {
    const missing = { TRAMONTANE_MODEL: 'no/such.gguf' }
    expect(() => readSettings(missing)).toThrow('TRAMONTANE_MODEL: file no/such.gguf not found. Correct the path.')
    expect(readSettings({ ...missing, TRAMONTANE_BACKEND: 'vllm' }).modelId).toBe('mistral-small-4')
    const llama = { TRAMONTANE_BACKEND: 'llama-cpp' }
    expect(() => readSettings({ ...missing, ...llama })).toThrow('file no/such.gguf not found')
    expect(readSettings({ ...llama, TRAMONTANE_MODEL: 'owner/GGUF:Q4_K_M' }).modelId).toBe('mistral-small-4')
  })

  it('[RUN7] the edge gets the hosted API and the spill switch only if they are set', () => {
    expect(readSettings({ HOSTED_URL: '', PORT: '80' })).toMatchObject({
      bindings: { CLIENT_ADDRESS_HEADER: 'none' },
      baseUrl: 'http://127.0.0.1:80',
    })
    const set = {
      HOSTED_URL: 'https://hosted.test/v1',
      HOSTED_MODEL: 'small',
      HOSTED_KEY: 'k',
      TRAMONTANE_SPILL: 'off',
    }
    const { TRAMONTANE_SPILL: _, ...hosted } = set
    const alone = { CLIENT_ADDRESS_HEADER: 'none' }
    expect(readSettings(set).bindings).toEqual({ ...hosted, ...alone, SPILL: 'off' })
    expect(readSettings({ ...set, TRAMONTANE_SPILL: 'on' }).bindings).toEqual({ ...hosted, ...alone })
    const proxied = { TRAMONTANE_CLIENT_ADDRESS_HEADER: 'x-real-ip' }
    expect(readSettings(proxied).bindings).toEqual({ CLIENT_ADDRESS_HEADER: 'x-real-ip' })
    for (const PORT of ['0x2000', '8787.0', '1e3', ' 80', '-1', '65536'])
      expect(() => readSettings({ PORT })).toThrow('PORT must be a number from 1 to 65535')
    expect(() => readSettings({ TRAMONTANE_CLIENT_ADDRESS_HEADER: 'X Real' })).toThrow(
      'TRAMONTANE_CLIENT_ADDRESS_HEADER must be',
    )
  })
})
