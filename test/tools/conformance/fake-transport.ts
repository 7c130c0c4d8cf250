/** The fake engine as a transport, without a socket. */
import type { HttpCall } from '../../../backends/contract/backend.ts'
import { fakeAnswer, fakeCount } from '../../../backends/engines/fake.ts'
import { type DocumentedAnswer, jsonAnswer, streamAnswer } from './documented/model.ts'

export const how = 'from the fake engine itself'
export const version = '1'

export function documented(): (call: HttpCall) => DocumentedAnswer {
  return ({ path, body }) => {
    if (path === '/fake') return jsonAnswer({ fake: version, context_tokens: 4_096, slots: 8 })
    if (path === '/health') return jsonAnswer({})
    if (path === '/metrics')
      return { status: 200, headers: {}, parts: ['fake:running 1\nfake:waiting 0\nfake:output_tokens_total 9\n'] }
    if (path === '/count') return jsonAnswer({ count: fakeCount(JSON.parse(body ?? '{}').messages) })
    const answer = path === '/v1/chat/completions' ? fakeAnswer(JSON.parse(body ?? 'null')) : undefined
    return answer ? streamAnswer([...answer.events]) : jsonAnswer({ error: { message: 'not found' } }, 404)
  }
}
