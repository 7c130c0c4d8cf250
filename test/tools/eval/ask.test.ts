import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { type Asked, ask, Hopeless } from './ask.ts'
import { asked } from './case.ts'
import { retryAfterMs, standingOf } from './refusal.ts'

type Handler = (request: IncomingMessage, response: ServerResponse, attempt: number) => void

let server: Server | undefined

afterEach(() => {
  server?.closeAllConnections()
  server?.close()
})

const one = asked('sums', 'What is 1 + 1?', ({ content }) => content === '2')

async function against(
  handler: Handler,
  signal = new AbortController().signal,
): Promise<{ result: Promise<Asked>; attempts: () => number }> {
  let attempts = 0
  server = createServer((request, response) => handler(request, response, ++attempts))
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const target = { url: `http://127.0.0.1:${address.port}/v1`, key: 'k', model: 'm' }
  const result = ask(target, one, { effort: 'high', temperature: 0, tokensMax: 9 }, signal)
  result.catch(() => {})
  return { result, attempts: () => attempts }
}

function answer(response: ServerResponse, events: object[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'x-tramontane-effort': 'high' })
  response.end(`${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`)
}

const two = [
  { choices: [{ delta: { role: 'assistant', content: '' } }] },
  { choices: [{ delta: { reasoning_content: '1 more.' } }] },
  { choices: [{ delta: { content: '2' } }] },
  { choices: [{ delta: {}, finish_reason: 'stop' }] },
  {
    choices: [],
    usage: { prompt_tokens: 5, completion_tokens: 4, completion_tokens_details: { reasoning_tokens: 2 } },
  },
]

function refuse(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

describe('asking over HTTP', () => {
  it('[EVL38] a request contains its options, and an answer is the streamed text', async () => {
    let body = ''
    const { result } = await against(async (request, response) => {
      for await (const piece of request) body += piece
      expect(request.headers.authorization).toBe('Bearer k')
      answer(response, two)
    })
    expect(await result).toMatchObject({
      kind: 'answered',
      answer: {
        content: '2',
        reasoning: '1 more.',
        finish: 'stop',
        effortServed: 'high',
        tokens: { output: 4, reasoning: 2 },
      },
      firstTokenMs: expect.any(Number),
      tokenMs: null,
    })
    expect(JSON.parse(body)).toMatchObject({
      model: 'm',
      reasoning_effort: 'high',
      temperature: 0,
      max_tokens: 9,
      stream: true,
    })
  })

  it('[EVL39] a busy server is asked again, not before its retry-after', async () => {
    const startedAt = performance.now()
    const { result, attempts } = await against((_request, response, attempt) =>
      attempt === 1
        ? refuse(response, 429, { code: 'rate_limit_exceeded' }, { 'retry-after': '1' })
        : answer(response, two),
    )
    expect((await result).kind).toBe('answered')
    expect(attempts()).toBe(2)
    expect(performance.now() - startedAt).toBeGreaterThan(1_000)
  })

  it('[EVL40] a stream that breaks off or has no finish reason is asked for again', async () => {
    const { result, attempts } = await against((_request, response, attempt) => {
      if (attempt === 1) answer(response, two.slice(0, 3))
      else if (attempt === 2) {
        response.writeHead(200).write('data: {"choices": [{"delta": {"content": "2"}}]}\n\n')
        setImmediate(() => response.destroy())
      } else answer(response, two)
    })
    expect(await result).toMatchObject({ answer: { content: '2' } })
    expect(attempts()).toBe(3)
  })

  it('[EVL41] a too long prompt counts for its case, no credit ends the run, and neither is retried', async () => {
    const long = await against((_request, response) =>
      refuse(response, 400, { error: { code: 'context_length_exceeded', message: 'm' } }),
    )
    expect(await long.result).toEqual({ kind: 'refused', code: 'context_length_exceeded' })
    server?.close()
    const poor = await against((_request, response) =>
      refuse(response, 429, { code: 'insufficient_quota', message: 'no money' }),
    )
    await expect(poor.result).rejects.toThrow(Hopeless)
    server?.close()
    const odd = await against((_request, response) => refuse(response, 422, { detail: 'no' }))
    await expect(odd.result).rejects.toThrow('422')
    expect([long.attempts(), poor.attempts(), odd.attempts()]).toEqual([1, 1, 1])
  })

  it('[EVL42] an interrupted request ends at once, also while it waits to retry', async () => {
    const stop = new AbortController()
    const { result, attempts } = await against((_request, response) => {
      refuse(response, 503, {}, { 'retry-after': '60' })
      setTimeout(() => stop.abort(), 50)
    }, stop.signal)
    const startedAt = performance.now()
    await expect(result).rejects.toThrow()
    expect(performance.now() - startedAt).toBeLessThan(2_000)
    expect(attempts()).toBe(1)
  })

  it.each([
    [429, 'rate_limit_exceeded', 'm', null, 'later'],
    [503, '', '', null, 'later'],
    [500, '', '', 'false', 'later'],
    [429, '', '', 'false', 'hopeless'],
    [401, 'invalid_api_key', '', null, 'hopeless'],
    [404, 'model_not_found', '', null, 'hopeless'],
    [400, 'invalid_value', 'reasoning_effort: no such level', null, 'fault'],
    [400, '', "This model's maximum context length is 10 tokens", null, 'case'],
    [413, 'request_too_large', '', null, 'case'],
  ])('[EVL43] a refusal of %i %s is classified', (status, code, message, shouldRetry, kind) => {
    expect(standingOf(status, { code, message }, shouldRetry).kind).toBe(kind)
  })

  it('[EVL44] retry-after is seconds or a date, limited, and zero when it is neither', () => {
    const now = Date.parse('2026-01-01T00:00:00Z')
    expect(retryAfterMs('7', now)).toBe(7_000)
    expect(retryAfterMs('Thu, 01 Jan 2026 00:00:03 GMT', now)).toBe(3_000)
    expect([retryAfterMs(null, now), retryAfterMs('soon', now), retryAfterMs('-1', now)]).toEqual([0, 0, 0])
    expect(retryAfterMs('86400', now)).toBe(120_000)
  })
})
