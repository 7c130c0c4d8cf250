import { describe, expect, it } from 'vitest'
import { controlNames, createVocabulary } from '../../../gpu-worker/engine/vocabulary.ts'

const names = [...controlNames]

describe('vocabulary', () => {
  it('[ENG8] the bytes of a token are exact, also for a partial character', () => {
    const tokens = [...names, 'Ġfox', 'Ã', '©', 'Ċ', 'ĀŃ']
    const { bytes } = createVocabulary(
      tokens,
      tokens.map((_, id) => (id < names.length ? 3 : 1)),
    )
    const of = (token: string) => [...bytes(tokens.indexOf(token))]
    expect(of('Ġfox')).toEqual([32, 102, 111, 120])
    expect([...of('Ã'), ...of('©')]).toEqual([...new TextEncoder().encode('é')])
    expect(of('Ċ')).toEqual([10])
    expect(of('ĀŃ')).toEqual([0, 173])
  })

  it('[ENG1] control tokens are found by name at any id, and have no text', () => {
    const tokens = ['a', ...names.toReversed()]
    const { control, controlIds, bytes } = createVocabulary(
      tokens,
      tokens.map((_, id) => (id === 0 ? 1 : 3)),
    )
    for (const name of names) expect(tokens[control[name]]).toBe(name)
    expect(controlIds).toHaveLength(names.length)
    expect(bytes(control['[INST]'])).toHaveLength(0)
  })

  it('[ENG14] a vocabulary that lacks a control token is refused with the token’s name', () => {
    const tokens = names.filter((name) => name !== '[MODEL_SETTINGS]')
    const types = tokens.map(() => 3)
    expect(() => createVocabulary(tokens, types)).toThrow('no control token [MODEL_SETTINGS]')
    // A text token with that name does not count.
    expect(() => createVocabulary([...tokens, '[MODEL_SETTINGS]'], [...types, 1])).toThrow('[MODEL_SETTINGS]')
  })
})
