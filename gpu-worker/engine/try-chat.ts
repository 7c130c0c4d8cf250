/**
 * One everyday chat of one token through an engine's adapter. Health and version say that an engine runs; only a chat
 * shows that its template, its tokenizer and its kernels work for this model.
 */
import type {
  Attached,
  BackendEvent,
  BackendFailure,
  HttpAnswer,
  HttpBackend,
  HttpCall,
  RequestTerms,
} from '../../backends/contract/backend.ts'
import { type Chat, readChat } from '../../backends/model/chat.ts'
import { cleanText } from '../../backends/model/clean-text.ts'
import type { OpenedCall } from './calls.ts'

export type Tried =
  | { kind: 'answered' }
  /** The engine refuses the chat, and would refuse every other. `reason` is one or two sentences. */
  | { kind: 'unfit'; reason: string }
  /** The engine did not finish the answer. It may later. */
  | { kind: 'failing'; reason: string }

type Open = (call: HttpCall, signal: AbortSignal) => Promise<OpenedCall>

const refusalMax = 16_384
const causeMax = 300

/** Never rejects. Aborting `signal` ends the chat as `failing`. */
export async function tryChat(
  backend: HttpBackend,
  attached: Attached,
  open: Open,
  signal: AbortSignal,
): Promise<Tried> {
  const terms = trialTerms(attached)
  const request = backend.request(everydayChat(), terms, attached)
  if (!request.ok)
    return { kind: 'unfit', reason: sentence(`its adapter refuses an everyday chat: ${request.message}`) }
  try {
    const opened = await open(request.call, signal)
    if (opened.status !== 200) return refused(backend, await refusalIn(opened))
    return await readTrial(backend, terms, opened)
  } catch (error) {
    const cause = signal.aborted ? 'it took too long' : (error as Error).message
    return { kind: 'failing', reason: sentence(`it did not answer a chat of one token: ${cleanText(cause, causeMax)}`) }
  }
}

/** The chat of the trial: nothing that an engine could lack. */
export function everydayChat(): Chat {
  const read = readChat({
    model: 'trial',
    messages: [{ role: 'user', content: 'Hello' }],
    temperature: 0,
    stream: true,
  })
  if (!read.ok) throw new Error(`the trial is not a valid chat: ${read.message}`)
  return read.chat
}

function trialTerms({ capabilities }: Attached): RequestTerms {
  const effort = capabilities.efforts.includes('none') ? 'none' : (capabilities.efforts[0] ?? 'none')
  return { requestId: 'trial', effort, outputTokensMax: 1, priority: 0, cacheSalt: '' }
}

async function readTrial(backend: HttpBackend, terms: RequestTerms, opened: OpenedCall): Promise<Tried> {
  const reader = backend.reader(terms, opened.streams)
  for await (const bytes of opened.body) {
    const tried = triedBy(reader.push(bytes))
    if (tried) return tried
  }
  const unfinished: Tried = { kind: 'failing', reason: 'its answer to a chat of one token did not end.' }
  return triedBy(reader.end()) ?? unfinished
}

function triedBy(events: readonly BackendEvent[]): Tried | undefined {
  for (const event of events) {
    if (event.kind === 'end') return { kind: 'answered' }
    if (event.kind === 'failed')
      return {
        kind: 'failing',
        reason: sentence(`its answer to a chat of one token broke off: ${cleanText(event.message, causeMax)}`),
      }
  }
  return undefined
}

function refused(backend: HttpBackend, answer: HttpAnswer): Tried {
  const failure = backend.failure(answer)
  const known = backend.cause?.(answer)
  const reason = sentence(
    `it answers an everyday chat with ${answer.status}: ${known ?? cleanText(failure.reported ?? failure.message, causeMax)}`,
  )
  return isLasting(failure, known) ? { kind: 'unfit', reason } : { kind: 'failing', reason }
}

/** An overload or a failure inside the engine may pass; a refusal of this chat, or of our key, does not. */
function isLasting(failure: BackendFailure, known: string | undefined): boolean {
  return known !== undefined || failure.operator || failure.code !== 'server_is_overloaded'
}

async function refusalIn({ status, headers, body }: OpenedCall): Promise<HttpAnswer> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const part of body) {
    text += decoder.decode(part, { stream: true })
    if (text.length > refusalMax) break
  }
  return { status, headers, body: text }
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}
