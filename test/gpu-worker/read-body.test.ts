import { expect, it } from 'vitest'
import { readBody } from '../../gpu-worker/run-dispatch.ts'

it('[TXT3] a body that the gateway passed on unchanged is repaired before an engine gets it', () => {
  const body = '{"model":"m","messages":[{"role":"user","content":"a\\u0000b\\ud800"}]}'
  expect(readBody(new TextEncoder().encode(body))).toMatchObject({
    ok: true,
    chat: { messages: [{ content: [{ text: 'a\ufffdb\ufffd' }] }] },
  })
})
