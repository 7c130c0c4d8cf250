/**
 * The prelude is the first line of a worker's answer to an accepted dispatch: how far the request came.
 *
 *   head 200 ──▶ the request is in preparation ──▶ {"kind":"prepared",…}\n ──▶ the answer's bytes
 *                                              └─▶ {"kind":"refused",…}\n  ──▶ the end
 *
 * The head comes at once and the prelude comes when the engine has begun or has refused. So the edge knows, when a worker
 * falls silent, whether the request was in preparation: such a request may be what stopped the worker, and is not sent to
 * another. The answer to a media question is a prelude alone.
 */
import { z } from 'zod'
import { budgets } from '../model/budgets.ts'
import { cleanText } from '../model/clean-text.ts'
import { Refusal } from './dispatch.ts'

const Prepared = z.object({
  kind: z.literal('prepared'),
  /** The prompt's exact length. Absent where the engine only estimates. */
  promptTokens: z.int().min(0).optional(),
  /** What the engine does not honour. */
  warnings: z.array(z.string()),
})
const Refused = z.object({ kind: z.literal('refused'), refusal: Refusal })
export const Prelude = z.discriminatedUnion('kind', [Prepared, Refused])
export type Prelude = z.infer<typeof Prelude>

const bytesMax = budgets.preludeBytes.value
const newline = 10
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** One line with its end. Texts that would pass the budget are cut. */
export function preludeLine(prelude: Prelude): string {
  const line = JSON.stringify(prelude)
  // A character has at most three bytes here, so most lines need no second look.
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
  /** `rest` are the bytes behind the line, and may be none. */
  | { kind: 'read'; prelude: Prelude; rest: Uint8Array }
  /** These are not the bytes of a worker's answer. */
  | { kind: 'malformed'; reason: string }

/** Push bytes, cut anywhere, until the answer is not `more`. */
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
