/** What a request needs of an engine, against what the engines of its model can serve. */
import { describe, expect, it } from 'vitest'
import { embedded } from '../../backends/engines/embedded.ts'
import { openaiCompatible } from '../../backends/engines/openai-compatible.ts'
import { readChat } from '../../backends/model/chat.ts'
import { findModel } from '../../backends/model/model.ts'
import { servedBy } from '../../gpu-worker/engine/engine.ts'
import { fitEngines, needsOf } from '../../src/chat/needs.ts'

const model = findModel('mistral-small-4')
if (!model) throw new Error('no such model')
const plain = { ...servedBy(openaiCompatible.capabilities), vision: false }
const able = { ...servedBy(embedded.capabilities), vision: false }
const tool = { type: 'function', function: { name: 'f' } }
const messages = [{ role: 'user', content: 'hi' }]

function fitOf(body: object, engines = [plain], effort: 'none' | 'high' = 'none', images = false) {
  const read = readChat({ model: 'm', messages, ...body })
  if (!read.ok) throw new Error(read.message)
  return fitEngines(engines, { needs: needsOf(read.chat), images, effort, model: model as NonNullable<typeof model> })
}

describe('needs of a request', () => {
  it('[NED1] a capability that every engine lacks is named by its field, and one engine with it is enough', () => {
    const cases: [object, string][] = [
      [{ tools: [tool], tool_choice: 'required' }, 'tool_choice'],
      [{ response_format: { type: 'json_object' } }, 'response_format'],
      [{ response_format: { type: 'json_schema', json_schema: { schema: {} } } }, 'response_format'],
      [{ stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'],
      [{ messages: [...messages, { role: 'assistant', content: 'a', prefix: true }] }, 'messages'],
    ]
    for (const [body, field] of cases) {
      expect(fitOf(body)).toMatchObject({ kind: 'lacks', need: { field }, together: false })
      expect(fitOf(body, [plain, able]).kind).toBe('fits')
    }
    expect(fitOf({ tools: [tool] }, [{ ...able, tools: false }])).toMatchObject({ need: { field: 'tools' } })
    expect(fitOf({ tools: [tool], tool_choice: 'none' }, [{ ...able, tools: false }]).kind).toBe('fits')
  })

  it('[NED1] capabilities that no single engine has together are refused', () => {
    const engines = [
      { ...able, jsonSchema: false },
      { ...able, forcedTool: false },
    ]
    const body = {
      ...{ tools: [tool], tool_choice: 'required' },
      response_format: { type: 'json_schema', json_schema: { schema: {} } },
    }
    expect(fitOf(body, engines)).toMatchObject({ kind: 'lacks', need: { field: 'response_format' }, together: true })
  })

  it('[NED2] the effort becomes the nearest level that an engine serves which can serve the rest', () => {
    expect(fitOf({}, [plain], 'high')).toEqual({ kind: 'fits', effort: 'none', vision: false })
    expect(fitOf({}, [plain, able], 'high')).toMatchObject({ effort: 'high' })
    const thinks = { ...able, jsonObject: false }
    const format = { response_format: { type: 'json_object' } }
    expect(fitOf(format, [{ ...able, efforts: ['none'] }, thinks], 'high')).toMatchObject({ effort: 'none' })
    const sees = { ...plain, vision: true }
    expect(fitOf({}, [sees, able], 'high', true)).toEqual({ kind: 'fits', effort: 'none', vision: true })
  })
})
