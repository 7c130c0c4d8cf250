/**
 * `POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`: the exact length of a prompt, counted by an
 * engine that serves the model. If no engine can count it (none is up, all are busy, or the prompt has media or is too
 * long to count between the steps of running answers), the answer is an upper bound, marked as an estimate.
 *
 * A count costs one request and a tenth of the prompt's tokens of the rates. It ends when the client leaves.
 */
import { promptTokensMax } from '../../backends/contract/prompt-bound.ts'
import { below } from '../../backends/contract/root.ts'
import { budgets } from '../../backends/model/budgets.ts'
import { chatBody } from '../../backends/model/chat-body.ts'
import { warningsHeaderValue } from '../../backends/model/clean-text.ts'
import { withSchemaTexts } from '../../backends/model/schema-texts.ts'
import { CountAnswer, type CountQuestion, countPath } from '../../backends/wire/count.ts'
import { Refusal, warningsHeader } from '../../backends/wire/dispatch.ts'
import { digest } from '../../backends/wire/seal.ts'
import { authenticate } from '../auth/authenticate.ts'
import { sealFor } from '../auth/worker-key.ts'
import { noPreviousTurns } from '../dialects/dialect.ts'
import { inDialect } from '../dialects/field-names.ts'
import { fleetOf } from '../fleet/client.ts'
import { preferredPoolOf } from '../fleet/placement/latency-targets.ts'
import type { WorkerEndpoint } from '../fleet/state.ts'
import { readJsonBody } from '../http/body.ts'
import { GatewayError, logError } from '../http/errors.ts'
import { previousResponse } from '../responses/previous-response.ts'
import { keyCheck } from '../tenant/key-check.ts'
import type { RatesLeft } from '../tenant/limits/rates-left.ts'
import type { RequestContext } from './context.ts'
import { rateHeaders } from './headers.ts'
import { type PreparedRequest, prepare } from './prepare.ts'
import { takeRates } from './take-rates.ts'

/** Workers tried, one after the other, before the count is estimated. */
const workersMax = 2
/** A count costs this fraction (one in N) of the tokens that it counts. */
const tokenShare = 10

export async function countTokens(request: Request, context: RequestContext): Promise<Response> {
  const key = await authenticate(request.headers, context.settings)
  const check = keyCheck(context.env, key)
  await check.ask()
  const bytesMax = budgets.countBodyBytes.value
  const { value, bytes: sent, hold } = await readJsonBody(request, { bytesMax, tenantId: key.tenantId })
  try {
    const { dialect } = context
    const previous = dialect.refers ? await previousResponse(context, key, dialect.refers(value)) : noPreviousTurns
    const read = (dialect.readPrompt ?? dialect.read)(value, previous)
    if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
    const chat = withSchemaTexts(read.parsed.chat, sent, dialect.schemaPlaces)
    const bytes = new TextEncoder().encode(chatBody(chat)) as Uint8Array<ArrayBuffer>
    const prepared = prepare({ ...read.parsed, chat }, bytes.byteLength, context.settings.models)
    const ratesLeft = await takeRates(context, key, Math.ceil(prepared.promptTokens / tokenShare))
    const counted = await countAtWorker(context, key.tenantId, prepared, bytes)
    return answer(
      context,
      prepared,
      ratesLeft,
      counted ?? { promptTokens: promptTokensMax(prepared.chat, chatBody(prepared.chat)), estimated: true },
    )
  } finally {
    hold?.release()
  }
}

function answer(
  context: RequestContext,
  prepared: PreparedRequest,
  left: RatesLeft,
  { promptTokens, estimated }: CountAnswer,
): Response {
  const headers = new Headers({
    'x-request-id': context.requestId,
    'request-id': context.requestId,
    'x-tramontane-estimated': String(estimated),
    'cache-control': 'no-store',
  })
  if (prepared.warnings.length > 0) headers.set(warningsHeader, warningsHeaderValue(prepared.warnings))
  for (const [name, value] of rateHeaders(left)) headers.set(name, value)
  for (const [name, value] of context.dialect.rateHeaders(left, context.startedAt)) headers.set(name, value)
  const object = context.dialect.name === 'responses' && { object: 'response.input_tokens' }
  return Response.json({ ...object, input_tokens: promptTokens, ...(estimated && { estimated }) }, { headers })
}

/** Undefined when no worker counts the prompt; the answer is then an estimate. */
async function countAtWorker(
  context: RequestContext,
  tenantId: string,
  prepared: PreparedRequest,
  body: Uint8Array<ArrayBuffer>,
): Promise<CountAnswer | undefined> {
  const { images, documents } = prepared.media
  if (images + documents > 0 || body.byteLength > budgets.countTextBytes.value) return undefined
  for (const endpoint of await workersFor(context, prepared)) {
    if (context.left.aborted) return undefined
    const answer = await countAt(context, tenantId, endpoint, prepared, body)
    if (answer !== 'busy') return answer
  }
  return undefined
}

async function workersFor(context: RequestContext, prepared: PreparedRequest): Promise<WorkerEndpoint[]> {
  const fleet = fleetOf(context.env)
  const [{ workers }, { present }] = await Promise.all([fleet.view(), fleet.registry()])
  const ready = new Set(
    workers.flatMap(({ workerId, model, state }) =>
      model === prepared.model.id && state === 'ready' ? [workerId] : [],
    ),
  )
  const preferred = preferredPoolOf(prepared.effort.effective)
  const rank = ({ pool }: WorkerEndpoint) => Number(pool !== preferred)
  return present
    .filter(({ workerId }) => ready.has(workerId))
    .sort((a, b) => rank(a) - rank(b))
    .slice(0, workersMax)
}

/**
 * Undefined when this worker went silent: the prompt may be the cause, so no other worker gets it. Throws when the
 * prompt is invalid.
 */
async function countAt(
  context: RequestContext,
  tenantId: string,
  endpoint: WorkerEndpoint,
  prepared: PreparedRequest,
  body: Uint8Array<ArrayBuffer>,
): Promise<CountAnswer | 'busy' | undefined> {
  const { workerId, url } = endpoint
  const within = budgets.countAnswerMs.value
  const question: CountQuestion = {
    workerId,
    tenantId,
    effort: prepared.effort.effective,
    bodyDigest: await digest(body),
    expiresAt: Date.now() + within,
  }
  const token = await sealFor(context.settings.fleetSecrets, endpoint, 'count', question)
  let answer: unknown
  let answered = false
  try {
    const response = await fetch(below(url, countPath), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      // A redirect would send the prompt to an address that is not enrolled.
      redirect: 'manual',
      body,
      signal: AbortSignal.any([context.left, AbortSignal.timeout(within)]),
    })
    answered = response.ok
    answer = await response.json()
  } catch (error) {
    if (!context.left.aborted) logError(`worker ${workerId} did not count a prompt`, error)
    return undefined
  }
  if (answered) return CountAnswer.safeParse(answer).data
  const refusal = Refusal.safeParse(answer).data
  // Another engine may support it, and the length is the same without it.
  if (refusal?.unsupported === true) return 'busy'
  if (refusal?.code === 'invalid_value') {
    const { param = null, message } = refusal
    const own = inDialect(context.dialect, { message, param }, prepared.fieldPaths)
    throw new GatewayError('invalid_value', own.message, { param: own.param })
  }
  return refusal ? 'busy' : undefined
}
