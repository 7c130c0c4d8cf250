/** The route of each dialect, and the error format of each request. */

import { messages } from './anthropic/dialect.ts'
import type { Dialect, ErrorShape } from './dialect.ts'
import { mistral } from './mistral/dialect.ts'
import { chatCompletions } from './openai-chat/dialect.ts'
import { openaiErrors } from './openai-chat/errors.ts'
import { responses } from './openai-responses/dialect.ts'

export const dialects: Record<string, Dialect> = {
  '/v1/chat/completions': chatCompletions,
  '/v1/responses': responses,
  '/v1/messages': messages,
  '/mistral/v1/chat/completions': mistral,
}

/** Anthropic's clients send their API version in every request. */
export function isAnthropic(request: Request): boolean {
  return request.headers.has('anthropic-version')
}

export function errorsOf(request: Request): ErrorShape {
  const { pathname } = new URL(request.url)
  if (/^\/v1\/messages(\/|$)/.test(pathname)) return messages.errors
  if (/^\/v1\/models(\/|$)/.test(pathname) && isAnthropic(request)) return messages.errors
  return openaiErrors
}
