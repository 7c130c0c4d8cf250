/** OpenAI's Chat Completions, the format of workers: requests and answers pass through byte for byte. */
import { readChat, WireChat } from '../../../backends/model/chat.ts'
import { repairRequest } from '../../../backends/model/repair-text.ts'
import { chatSchemaPlaces } from '../../../backends/model/schema-texts.ts'
import { unusedFields } from '../../../backends/model/unused-fields.ts'
import type { Dialect, ParsedRequest } from '../dialect.ts'
import { openaiErrors } from './errors.ts'
import { functionCallWriter } from './function-call-writer.ts'

export const chatCompletions: Dialect = {
  name: 'chat',
  schemaPlaces: chatSchemaPlaces,
  effortField: 'reasoning_effort',
  fieldNames: [],
  read(body) {
    const read = readChat(body)
    if (!read.ok) return read
    const { chat } = read
    const parsed: ParsedRequest = { chat, warnings: [...read.warnings, ...unusedFields(WireChat, body)] }
    if (asksForFunctions(body)) parsed.writer = (context) => functionCallWriter(context, chat.includeUsage)
    return { ok: true, parsed: repairRequest(parsed) }
  },
  errors: openaiErrors,
  rateHeaders: () => [],
}

/** The older form of tools, whose answers have `function_call`. */
function asksForFunctions(body: unknown): boolean {
  const { functions } = body as { functions?: unknown }
  return Array.isArray(functions) && functions.length > 0
}
