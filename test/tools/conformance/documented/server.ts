/** A documented engine on a real local socket. */
import { createServer } from 'node:http'
import type { HttpCall } from '../../../../backends/contract/backend.ts'
import type { DocumentedAnswer } from './model.ts'

/** @param answer may change the script's answer, or throw to leave the call unanswered */
export async function serve(
  answer: (call: HttpCall) => DocumentedAnswer,
): Promise<{ url: string; stop(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    const method = request.method === 'POST' ? 'POST' : 'GET'
    const { status, headers, parts } = answer({ method, path: request.url ?? '', ...(body !== '' && { body }) })
    response.writeHead(status, headers)
    for (const part of parts) response.write(part)
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
