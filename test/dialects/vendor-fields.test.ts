/** Every field of the vendors' published request types, against the readers of the dialects. */
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { WireChat } from '../../backends/model/chat.ts'
import { messages } from '../../src/dialects/anthropic/dialect.ts'
import { Body as MessagesBody } from '../../src/dialects/anthropic/read.ts'
import type { Dialect } from '../../src/dialects/dialect.ts'
import { Body as MistralBody, mistral } from '../../src/dialects/mistral/dialect.ts'
import { chatCompletions } from '../../src/dialects/openai-chat/dialect.ts'
import { Body as ResponsesBody } from '../../src/dialects/openai-responses/body.ts'
import { responses } from '../../src/dialects/openai-responses/dialect.ts'
import { decided } from './vendors/decided.ts'
import { fieldTable } from './vendors/field-table.ts'
import { probeField } from './vendors/probe-field.ts'
import { samples } from './vendors/samples.ts'
import { vendorFields } from './vendors/vendor-fields.ts'

const dialects = { chat: chatCompletions, responses, messages, mistral } satisfies Record<
  Exclude<Dialect['name'], 'completions'>,
  Dialect
>
const bodies = { chat: WireChat, responses: ResponsesBody, messages: MessagesBody, mistral: MistralBody }
const names = ['chat', 'responses', 'messages', 'mistral'] as const

describe('the vendors’ fields', () => {
  const fields = vendorFields()

  it.each(names)('[POL18] %s: every field is read, adds a warning, or is documented as without effect', (name) => {
    // The words of a type or role decide which object it is.
    const paths = fields[name].filter((path) => !/\.(type|role)$/.test(path))
    expect(paths.length).toBeGreaterThan(100)
    const verdicts = new Map(paths.map((path) => [path, probeField(dialects[name], samples[name], path)]))
    expect(fieldTable(verdicts)).toEqual(decided[name])
  })

  it.each(names)('[POL18] %s: a field without effect says so in the reference', (name) => {
    const schema = JSON.stringify(z.toJSONSchema(bodies[name], { io: 'input', unrepresentable: 'any' }))
    const silent = Object.values(decided[name].objects).flatMap((object) => object.silent?.split(' ') ?? [])
    expect(silent.length).toBeGreaterThan(0)
    for (const field of new Set(silent))
      expect(schema, field).toMatch(new RegExp(`"${field}":{"description":"(Without effect|Ignored)`))
  })
})
