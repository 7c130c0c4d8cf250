/** Parses a Chat Completions body as its dialect does. */

import { noPreviousTurns, type ParsedRequest } from '../../src/dialects/dialect.ts'
import { chatCompletions } from '../../src/dialects/openai-chat/dialect.ts'

export function asked(body: unknown): ParsedRequest {
  const read = chatCompletions.read(body, noPreviousTurns)
  if (!read.ok) throw new Error(`${read.param}: ${read.message}`)
  return read.parsed
}
