/**
 * The worker's log of what it refuses, so that an operator sees why requests fail. A flood of refusals makes one line for
 * each code in ten seconds. A client's own mistakes are logged by code and count only: their messages quote the client.
 */
import { cleanText } from '../backends/model/clean-text.ts'

const everyMs = 10_000
const codesMax = 64
const clientCodes = new Set(['invalid_value', 'context_length_exceeded', 'prompt_over_bound'])

export class RefusalLog {
  readonly #codes = new Map<string, { loggedAt: number; count: number }>()

  /** The line to log now, or undefined. */
  note(code: string, message: string, now: number): string | undefined {
    const known = this.#codes.get(code)
    if (known && now - known.loggedAt < everyMs) {
      known.count += 1
      return undefined
    }
    if (!known && this.#codes.size >= codesMax) this.#codes.clear()
    this.#codes.set(code, { loggedAt: now, count: 0 })
    const more = known && known.count > 0 ? `, and ${known.count} more since the last line` : ''
    const why = clientCodes.has(code) ? 'the request is at fault' : cleanText(message, 300)
    return `refused a request: ${cleanText(code, 64)}: ${why}${more}`
  }
}
