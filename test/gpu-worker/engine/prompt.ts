/** Test helpers: a chat as the worker receives it, and a prompt as readable text. */
import { type Chat, readChat } from '../../../backends/model/chat.ts'
import type { Segment } from '../../../gpu-worker/engine/template.ts'

export function chatOf(body: Record<string, unknown>): Chat {
  const read = readChat({ model: 'tramontane-tiny', messages: [{ role: 'user', content: 'Hello' }], ...body })
  if (!read.ok) throw new Error(read.message)
  return read.chat
}

export function textOf(segments: readonly Segment[]): string {
  return segments.map((segment) => ('control' in segment ? segment.control : segment.text)).join('')
}
