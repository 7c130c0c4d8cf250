/** The error format of each request. */
import { routePath } from '../http/route-path.ts'
import { messages } from './anthropic/dialect.ts'
import type { ErrorShape } from './dialect.ts'
import { openaiErrors } from './openai-chat/errors.ts'

/** Anthropic's clients send their API version in every request. */
export function isAnthropic(request: Request): boolean {
  return request.headers.has('anthropic-version')
}

export function errorsOf(request: Request): ErrorShape {
  const pathname = routePath(new URL(request.url).pathname)
  if (/^\/v1\/messages(\/|$)/.test(pathname)) return messages.errors
  if (/^\/v1\/models(\/|$)/.test(pathname) && isAnthropic(request)) return messages.errors
  return openaiErrors
}
