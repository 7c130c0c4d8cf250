/** A Chat Completions body as its surface reads it. */

import { noPast, type ParsedRequest } from '../../src/dialects/dialect.ts'
import { chatCompletions } from '../../src/dialects/openai-chat/dialect.ts'

export function asked(body: unknown): ParsedRequest {
  const read = chatCompletions.read(body, noPast)
  if (!read.ok) throw new Error(`${read.param}: ${read.message}`)
  return read.asked
}
