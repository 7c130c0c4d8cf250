/** Anthropic's Messages. */
import type { RatesLeft } from '../../tenant/limits/rates-left.ts'
import type { Dialect } from '../dialect.ts'
import { messagesErrors } from './errors.ts'
import { readMessages, readPrompt } from './read.ts'
import { messagesWriter } from './write.ts'

export const messages: Dialect = {
  name: 'messages',
  effortField: 'output_config.effort',
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
