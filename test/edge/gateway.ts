/**
 * The gateway as the tests of this project reach it. Every answer is checked against the published OpenAPI documents
 * while its body is read.
 */
import { SELF } from 'cloudflare:test'
import { openapi } from '../../src/docs/openapi.ts'
import { routes } from '../../src/routes.ts'
import { AnswerCheck } from '../support/answer-check.ts'

const origin = 'https://gateway.test'
const check = new AnswerCheck([openapi(routes, origin, 'users'), openapi(routes, origin, 'operators')])

export async function fetchGateway(input: string, init: RequestInit = {}): Promise<Response> {
  const response = await SELF.fetch(input, init)
  // A redirect ends at another path.
  return checked(response, init.method ?? 'GET', new URL(response.url || input).pathname)
}

/** Makes reading the body fail where the documents forbid the answer. */
export function checked(response: Response, method: string, path: string): Response {
  const read = response.text.bind(response)
  const text = async () => {
    const body = await read()
    const type = response.headers.get('content-type') ?? ''
    const fault = check.faultOf({ method, path, status: response.status, type, text: body })
    if (fault !== undefined) throw new Error(`the OpenAPI document forbids this answer: ${fault}`)
    return body
  }
  response.text = text
  response.json = async () => JSON.parse(await text())
  return response
}
