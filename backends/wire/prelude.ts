/**
 * The prelude is the first line of a worker's answer to an accepted dispatch. It reports the request's progress.
 *
 *   head 200 ──▶ the request is in preparation ──▶ {"kind":"prepared",…}\n ──▶ the answer's bytes
 *                                              └─▶ {"kind":"refused",…}\n  ──▶ the end
 *
 * The worker sends the head at once, and the prelude when the engine starts or refuses. So when a worker falls silent,
 * the edge knows whether the request was in preparation. Such a request may have crashed the worker, so the edge does
 * not retry it. The answer to a media question is only a prelude.
 */
import { z } from 'zod'
import { budgets } from '../model/budgets.ts'
import { cleanText } from '../model/clean-text.ts'
import { Refusal } from './dispatch.ts'

const Prepared = z.object({
  kind: z.literal('prepared'),
  /** The prompt's exact length. Absent if the engine only estimates it. */
  promptTokens: z.int().min(0).optional(),
  /** The bound of the output, if the reservation pays for fewer tokens than the dispatch allows. */
  outputTokensMax: z.int().min(1).optional(),
  /** Fields that the engine does not support. */
  warnings: z.array(z.string()),
})
const Refused = z.object({ kind: z.literal('refused'), refusal: Refusal })
export const Prelude = z.discriminatedUnion('kind', [Prepared, Refused])
export type Prelude = z.infer<typeof Prelude>

const bytesMax = budgets.preludeBytes.value
const newline = 10
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The prelude as one line with its newline. Texts are cut to the budget. */
export function preludeLine(prelude: Prelude): string {
  const line = JSON.stringify(prelude)
  // A UTF-16 unit has at most three bytes, so most lines need no encoding.
  if (line.length < bytesMax / 3 || encoder.encode(line).length < bytesMax) return `${line}\n`
  return `${JSON.stringify(shortened(prelude))}\n`
}

function shortened(prelude: Prelude): Prelude {
  if (prelude.kind === 'prepared')
    return { ...prelude, warnings: prelude.warnings.slice(0, 32).map((warning) => cleanText(warning, 400)) }
  const { code, message, param, ...rest } = prelude.refusal
  const short = { code: cleanText(code, 64), message: cleanText(message, 4_000), param: param && cleanText(param, 400) }
  return { kind: 'refused', refusal: { ...short, ...rest } }
}

export type PreludeRead =
  | { kind: 'more' }
  /** `rest` is the bytes after the first line, possibly none. */
  | { kind: 'read'; prelude: Prelude; rest: Uint8Array }
  /** The bytes are not a worker's answer. */
  | { kind: 'malformed'; reason: string }

/** Push bytes, split anywhere, until the result is not `more`. */
export class PreludeReader {
  #parts: Uint8Array[] = []
  #length = 0

  push(bytes: Uint8Array): PreludeRead {
    const at = bytes.indexOf(newline)
    const head = at < 0 ? bytes : bytes.subarray(0, at)
    this.#parts.push(head)
    this.#length += head.length
    if (this.#length > bytesMax) return { kind: 'malformed', reason: `the first line is longer than ${bytesMax} bytes` }
    if (at < 0) return { kind: 'more' }
    const prelude = parse(this.#parts.length === 1 ? head : join(this.#parts, this.#length))
    return prelude
      ? { kind: 'read', prelude, rest: bytes.subarray(at + 1) }
      : { kind: 'malformed', reason: 'the first line is not a prelude' }
  }
}

function parse(line: Uint8Array): Prelude | undefined {
  try {
    return Prelude.safeParse(JSON.parse(decoder.decode(line))).data
  } catch {
    return undefined
  }
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length)
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.length
  }
  return whole
}
