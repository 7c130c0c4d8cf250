import { describe, expect, it } from 'vitest'
import type { RequestContext } from '../../src/chat/context.ts'
import { answerHeaders } from '../../src/chat/headers.ts'
import { prepare } from '../../src/chat/prepare.ts'
import { chatCompletions } from '../../src/dialects/openai-chat/dialect.ts'
import type { Admission } from '../../src/tenant/rpc.ts'
import { asked } from '../support/asked.ts'

const context = { requestId: 'req_1', dialect: chatCompletions } as RequestContext
const admission = { ratesLeft: {} } as Admission
const origin = {
  contentType: 'application/json',
  served: undefined,
  answering: true,
  queue: undefined,
  lowered: undefined,
  now: 0,
}
const ask = (model: string) =>
  prepare(asked({ model, messages: [{ role: 'user', content: 'hi' }] }), 60, ['mistral-small-4', 'tramontane-tiny'])

describe('an answer to a model alias', () => {
  it('[ALI5] an answer reports the model that served it, the requested name, and its deprecation', () => {
    const headersOf = (model: string) => Object.fromEntries(answerHeaders(context, ask(model), admission, origin))
    expect(headersOf('magistral-small-2509')).toMatchObject({
      'x-tramontane-model': 'mistral-small-4',
      'x-tramontane-model-asked': 'magistral-small-2509',
      'x-tramontane-effort': 'high',
      // 2026-04-30
      deprecation: '@1777507200',
      'x-tramontane-warnings': expect.stringContaining('Use mistral-small-4'),
    })
    expect(headersOf('mistral-small-latest').deprecation).toBeUndefined()
    expect(headersOf('mistral-small-4')['x-tramontane-model-asked']).toBeUndefined()
  })
})
