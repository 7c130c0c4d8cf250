/** A Chat Completions body as its surface reads it. */
import { chatCompletions } from '../../src/surfaces/chat-completions.ts'
import { type Asked, noPast } from '../../src/surfaces/surface.ts'

export function asked(body: unknown): Asked {
  const read = chatCompletions.read(body, noPast)
  if (!read.ok) throw new Error(`${read.param}: ${read.message}`)
  return read.asked
}
