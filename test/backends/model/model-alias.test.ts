import { describe, expect, it } from 'vitest'
import { findModel } from '../../../backends/model/model.ts'
import { modelAliases, resolveModel } from '../../../backends/model/model-alias.ts'
import { prepare } from '../../../src/chat/prepare.ts'
import { listModels, showModel } from '../../../src/http/models.ts'
import { asked } from '../../support/asked.ts'

const small4 = ['mistral-small-4']
const ask = (model: string, change: object = {}) =>
  prepare(asked({ model, messages: [{ role: 'user', content: 'hi' }], ...change }), 60, small4)

describe('model aliases', () => {
  it.each(modelAliases)('[ALI1] $id is served by Small 4 with its preset', ({ id, deprecatedOn, effort }) => {
    const shaped = ask(id)
    expect(shaped.model.id).toBe('mistral-small-4')
    expect(shaped.effort).toEqual({ asked: undefined, effective: effort ?? 'none' })
    expect(effort === 'high').toBe(id.startsWith('magistral'))
    const said = deprecatedOn
      ? `model: ${id} has been deprecated since ${deprecatedOn} and served by mistral-small-4. Use mistral-small-4`
      : ''
    expect(shaped.warnings.join()).toBe(said)
  })

  it('[ALI1] an alias maps to one existing model and is not a model id', () => {
    expect(new Set(modelAliases.map(({ id }) => id)).size).toBe(modelAliases.length)
    for (const { id, target } of modelAliases) {
      expect(findModel(target)).toBeDefined()
      expect(findModel(id)).toBeUndefined()
    }
  })

  it('[ALI1] the model list contains the aliases, and an alias shows the model that serves it', () => {
    expect(listModels(small4, new Map()).data[0]?.aliases).toContain('magistral-small-2509')
    expect(showModel(small4, 'devstral-small-2507', new Map())).toMatchObject({
      id: 'devstral-small-2507',
      root: 'mistral-small-4',
      deprecation: '2026-02-27T00:00:00Z',
      deprecation_replacement_model: 'mistral-small-4',
    })
  })

  it('[ALI2] an effort in the request wins over the effort of an alias', () => {
    expect(ask('magistral-small-2509', { reasoning_effort: 'none' }).effort.effective).toBe('none')
    expect(ask('mistral-small-2506', { reasoning_effort: 'high' }).effort.effective).toBe('high')
  })

  it('[ALI3] if Small 4 is not served, its aliases are not found', () => {
    for (const { id } of modelAliases) {
      const found = resolveModel(id, ['tramontane-tiny'])
      expect(found).toMatchObject({ ok: false, code: 'model_not_found' })
      expect(!found.ok && found.message).toContain('Use tramontane-tiny')
    }
    expect(listModels(['tramontane-tiny'], new Map()).data[0]?.aliases).toEqual([])
  })

  it.each([
    ['mistral-smal-4', 'mistral-small-4'],
    ['Magistral-Small-2509', 'magistral-small-2509'],
    ['pixtral-12b-2408', 'pixtral-12b-2409'],
  ])('[ALI4] the error for %s names %s first', (wrong, right) => {
    expect(() => ask(wrong)).toThrow(new RegExp(`Use ${right} or`.replace(/or$/, '')))
  })

  it('[ALI4] the error for a name without a similar one names the served models', () => {
    expect(() => ask('gpt-5')).toThrow('model "gpt-5" is not served here. Use mistral-small-4.')
    expect(() => ask('x'.repeat(256))).toThrow(/Use mistral-small-4\.$/)
  })
})
