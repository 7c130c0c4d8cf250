/** A local hosted API that answers as a test configures it, and records its calls. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'

interface HostedCallSeen {
  headers: IncomingHttpHeaders
  body: Record<string, unknown>
  /** Whether the caller closed the connection before the end of the answer. */
  cut: boolean
}

export interface HostedApi {
  url: string
  calls: HostedCallSeen[]
  answer: (response: ServerResponse) => void | Promise<void>
  stop(): Promise<void>
}

export async function startHostedApi(): Promise<HostedApi> {
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += part
    const call: HostedCallSeen = { headers: request.headers, body: JSON.parse(text), cut: false }
    api.calls.push(call)
    response.on('close', () => {
      call.cut = !response.writableFinished
    })
    await api.answer(response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const api: HostedApi = {
    url: `http://127.0.0.1:${address.port}/v1`,
    calls: [],
    answer: (response) => void response.writeHead(500).end(),
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return api
}

export function beginStream(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  response.flushHeaders()
}

export function hostedChunk(delta: unknown, finishReason: string | null = null, usage?: unknown): string {
  const choices = [{ index: 0, delta, finish_reason: finishReason }]
  return `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', choices, ...(usage ? { usage } : {}) })}\n\n`
}
