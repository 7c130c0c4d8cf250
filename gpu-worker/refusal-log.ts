/**
 * Logs the requests that the worker refuses, so that an operator sees why they fail. Each code is logged at most once
 * in ten seconds. Refusals for a client's own mistake are logged without their message, because it quotes the client.
 */
import { cleanText } from '../backends/model/clean-text.ts'

const everyMs = 10_000
const codesMax = 64
const clientCodes = new Set(['invalid_value', 'context_length_exceeded', 'prompt_over_bound'])

export class RefusalLog {
  readonly #codes = new Map<string, { loggedAt: number; count: number }>()

  /** Returns the text to log now, or undefined. */
  note(code: string, message: string, now: number): string | undefined {
    const known = this.#codes.get(code)
    if (known && now - known.loggedAt < everyMs) {
      known.count += 1
      return undefined
    }
    if (!known && this.#codes.size >= codesMax) this.#codes.clear()
    this.#codes.set(code, { loggedAt: now, count: 0 })
    const more = known && known.count > 0 ? `, and ${known.count} more since the last entry` : ''
    const why = clientCodes.has(code) ? 'the request is invalid' : cleanText(message, 300)
    return `refused a request: ${cleanText(code, 64)}: ${why}${more}`
  }
}
