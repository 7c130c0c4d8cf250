/**
 * Reads an engine's refusal. The body can be nested (`{error: {…}}`), flat (`{object: "error", …}`), a validator's list
 * (`{detail: […]}`) or plain text. The code and the type decide, never the wording of a message.
 */
import { z } from 'zod'
import type { BackendFailure, HttpAnswer } from '../../contract/backend.ts'
import { parseJson } from './answer.ts'

const Detail = z.object({
  type: z.string().optional(),
  loc: z.array(z.union([z.string(), z.number()])).optional(),
  msg: z.string().optional(),
})
const Flat = z.object({
  message: z.union([z.string(), z.object({ detail: z.array(z.unknown()) })]).optional(),
  detail: z.union([z.string(), z.array(z.unknown())]).optional(),
  type: z.string().nullish().catch(null),
  code: z.union([z.string(), z.number()]).nullish().catch(null),
  param: z.string().nullish().catch(null),
  n_prompt_tokens: z.int().min(1).optional().catch(undefined),
})
const ErrorBody = z.union([
  z.object({ error: Flat }).transform(({ error }) => error),
  z.object({ error: z.string() }),
  Flat,
])

const messageMax = 500
/** Types and codes for a prompt that does not fit: of llama.cpp, of OpenAI. */
const tooLong = ['exceed_context_size_error', 'context_length_exceeded']

interface ReportedError {
  message: string
  details: z.infer<typeof Detail>[]
  words: string[]
  param: string | null
  promptTokens: number | undefined
}

function readError(text: string): ReportedError {
  const parsed = ErrorBody.safeParse(parseJson(text)).data ?? {}
  if ('error' in parsed)
    return { message: parsed.error.slice(0, messageMax), details: [], words: [], param: null, promptTokens: undefined }
  const { message, detail, type, code, param } = parsed
  const list = Array.isArray(detail) ? detail : typeof message === 'object' ? message.detail : []
  const details = list.flatMap((each) => Detail.safeParse(each).data ?? [])
  const reported = details.map(({ loc, msg }) => `${loc?.join('.') ?? 'body'}: ${msg ?? 'not accepted'}`).join('; ')
  const plain = typeof message === 'string' ? message : typeof detail === 'string' ? detail : ''
  return {
    message: (reported || plain || 'no reason given').slice(0, messageMax),
    details,
    words: [type, code].flatMap((word) => (word == null ? [] : [String(word)])),
    param: param ?? null,
    promptTokens: parsed.n_prompt_tokens,
  }
}

/** @param who the name in messages: `the engine`, `the hosted API` */
export function openaiFailure({ status, headers, body }: HttpAnswer, who = 'the engine'): BackendFailure {
  const reported = readError(body)
  const seconds = Number(headers['retry-after'])
  const retryAfterMs = seconds > 0 ? Math.ceil(seconds * 1_000) : 2_000
  const message = `${who} refused: ${reported.message}`.slice(0, messageMax)
  const failure = { ok: false, param: reported.param, retryAfterMs: null, operator: false } as const
  const busy = {
    ...failure,
    code: 'server_is_overloaded',
    param: null,
    message: `${who} cannot accept the request now. Try again soon.`,
    retryAfterMs,
    reported: `${status}: ${reported.message}`,
  } as const
  // vLLM has no code for it, and names a field that no client sends.
  if (reported.words.some((word) => tooLong.includes(word)) || reported.param === 'input_tokens') {
    const count = reported.promptTokens === undefined ? {} : { promptTokens: reported.promptTokens }
    return { ...failure, code: 'context_length_exceeded', message, param: 'messages', ...count }
  }
  if (status === 429 || status >= 500) return busy
  if (status === 413) return { ...failure, code: 'request_too_large', message }
  // An unknown field comes from the adapter, not from the client.
  const ours = reported.details.some((detail) => detail.type === 'extra_forbidden')
  if ((status === 400 || status === 422) && !ours) return { ...failure, code: 'invalid_value', message }
  return { ...busy, operator: true }
}
