/** OpenAI's Chat Completions, the format of workers: requests and answers pass through byte for byte. */
import { readChat } from '../../../backends/model/chat.ts'
import { repairRequest } from '../../../backends/model/repair-text.ts'
import { chatSchemaPath } from '../../../backends/model/schema-texts.ts'
import type { Dialect } from '../dialect.ts'
import { openaiErrors } from './errors.ts'

export const chatCompletions: Dialect = {
  name: 'chat',
  schemaPath: chatSchemaPath,
  effortField: 'reasoning_effort',
  fieldNames: [],
  read(body) {
    const read = readChat(body)
    return read.ok ? { ok: true, parsed: repairRequest(read) } : read
  },
  errors: openaiErrors,
  rateHeaders: () => [],
}
