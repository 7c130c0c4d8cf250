/** Anthropic's Messages. */
import type { RatesLeft } from '../../tenant/limits/rates-left.ts'
import type { Dialect } from '../dialect.ts'
import { messagesErrors } from './errors.ts'
import { readMessages, readPrompt } from './read.ts'
import { messagesWriter } from './write.ts'

export const messages: Dialect = {
  name: 'messages',
  schemaPlaces: {
    tools: { tools: ['input_schema'] },
    formats: [
      ['output_config', 'format', 'schema'],
      ['output_format', 'schema'],
    ],
  },
  effortField: 'output_config.effort',
  fieldNames: [
    ['response_format.json_schema.schema', 'output_config.format.schema'],
    ['response_format', 'output_config.format'],
    ['reasoning_effort', 'output_config.effort'],
    ['tools[n].function.parameters', 'tools[n].input_schema'],
    ['tools[n].function', 'tools[n]'],
    ['stop', 'stop_sequences'],
    ['max_completion_tokens', 'max_tokens'],
  ],
  read(body) {
    const read = readMessages(body)
    if (!read.ok) return read
    const { parsed, thinkingShown } = read
    return { ok: true, parsed: { ...parsed, writer: (context) => messagesWriter(context, thinkingShown) } }
  },
  readPrompt,
  errors: messagesErrors,
  rateHeaders,
}

/** With Anthropic's names; a reset is a time in RFC 3339. */
function rateHeaders(left: RatesLeft, now: number): [string, string][] {
  const rates = [
    ['requests', left.requests],
    ['tokens', left.tokens],
  ] as const
  return rates.flatMap(([name, rate]): [string, string][] =>
    rate
      ? [
          [`anthropic-ratelimit-${name}-limit`, String(rate.limit)],
          [`anthropic-ratelimit-${name}-remaining`, String(rate.left)],
          [`anthropic-ratelimit-${name}-reset`, new Date(now + rate.resetMs).toISOString()],
        ]
      : [],
  )
}
