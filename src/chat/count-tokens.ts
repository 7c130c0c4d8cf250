/**
 * `POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`: how long a prompt is, exactly, from an engine
 * that serves the model. Where none can say (none is up, all are busy, the prompt has media or is too long to be counted
 * between the steps of running answers), the answer is an upper bound and is marked as an estimate.
 *
 * Counting takes one request and a tenth of the prompt's tokens from the rates. It ends when the client leaves.
 */
import { promptTokensMax } from '../../backends/contract/prompt-bound.ts'
import { below } from '../../backends/contract/root.ts'
import { budgets } from '../../backends/model/budgets.ts'
import { chatBody } from '../../backends/model/chat-body.ts'
import { CountAnswer, type CountQuestion, countPath } from '../../backends/wire/count.ts'
import { Refusal } from '../../backends/wire/dispatch.ts'
import { digest, seal } from '../../backends/wire/seal.ts'
import { keyIdOf } from '../../backends/wire/worker-key.ts'
import { authenticate } from '../auth/authenticate.ts'
import { workerSealKey } from '../auth/fleet.ts'
import { keyCheck } from '../auth/key-check.ts'
import { noPast } from '../dialects/dialect.ts'
import { fleetOf } from '../fleet/client.ts'
import type { WorkerEndpoint } from '../fleet/fleet.ts'
import { homeOf } from '../fleet/placement/latency-targets.ts'
import { readJsonBody } from '../http/body.ts'
import { GatewayError, logError } from '../http/errors.ts'
import { recall } from '../responses/previous-response.ts'
import type { RatesLeft } from '../tenant/admission.ts'
import { takeRates } from '../tenant/take-rates.ts'
import type { RequestContext } from './context.ts'
import { addWarnings, rateHeaders } from './headers.ts'
import { type PreparedRequest, prepare } from './prepare.ts'

/** Workers that are asked, one after the other, before it is estimated. */
const askedMax = 2
/** A count takes this part of the tokens that it counts. */
const tokenShare = 10

export async function countTokens(request: Request, line: RequestContext): Promise<Response> {
  const key = await authenticate(request.headers, line.settings.macKey)
  const check = keyCheck(line.env, key)
  await check.ask()
  const bytesMax = budgets.countBodyBytes.value
  const { value, hold } = await readJsonBody(request, { bytesMax, tenantId: key.tenantId })
  try {
    const { surface } = line
    const past = surface.refers ? await recall(line, key, surface.refers(value)) : noPast
    const read = (surface.readPrompt ?? surface.read)(value, past)
    if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
    const body = chatBody(read.asked.chat)
    const bytes = new TextEncoder().encode(body) as Uint8Array<ArrayBuffer>
    const shaped = prepare(read.asked, bytes.byteLength, line.settings.models)
    const ratesLeft = await takeRates(line, key, Math.ceil(shaped.promptTokens / tokenShare))
    const counted = await countAtWorker(line, key.tenantId, shaped, bytes)
    return answer(
      line,
      shaped,
      ratesLeft,
      counted ?? { promptTokens: promptTokensMax(shaped.chat, body), estimated: true },
    )
  } finally {
    hold?.release()
  }
}

function answer(
  line: RequestContext,
  shaped: PreparedRequest,
  left: RatesLeft,
  { promptTokens, estimated }: CountAnswer,
): Response {
  const headers = new Headers({
    'x-request-id': line.requestId,
    'request-id': line.requestId,
    'x-tramontane-estimated': String(estimated),
    'cache-control': 'no-store',
  })
  addWarnings(headers, shaped.warnings)
  for (const [name, value] of rateHeaders(left)) headers.set(name, value)
  for (const [name, value] of line.surface.rateHeaders(left, line.startedAt)) headers.set(name, value)
  const object = line.surface.name === 'responses' && { object: 'response.input_tokens' }
  return Response.json({ ...object, input_tokens: promptTokens, ...(estimated && { estimated }) }, { headers })
}

/** Undefined where no worker says; the answer is an estimate then. */
async function countAtWorker(
  line: RequestContext,
  tenantId: string,
  shaped: PreparedRequest,
  body: Uint8Array<ArrayBuffer>,
): Promise<CountAnswer | undefined> {
  const { images, documents } = shaped.media
  if (images + documents > 0 || body.byteLength > budgets.countTextBytes.value) return undefined
  for (const place of await placesFor(line, shaped)) {
    if (line.left.aborted) return undefined
    const answer = await ask(line, tenantId, place, shaped, body)
    if (answer !== 'busy') return answer
  }
  return undefined
}

async function placesFor(line: RequestContext, shaped: PreparedRequest): Promise<WorkerEndpoint[]> {
  const fleet = fleetOf(line.env)
  const [{ workers }, { present }] = await Promise.all([fleet.view(), fleet.registry()])
  const serve = new Set(
    workers.flatMap(({ workerId, model, state }) => (model === shaped.model.id && state === 'ready' ? [workerId] : [])),
  )
  const home = homeOf(shaped.effort.effective)
  const away = ({ pool }: WorkerEndpoint) => Number(pool !== home)
  return present
    .filter(({ workerId }) => serve.has(workerId))
    .sort((a, b) => away(a) - away(b))
    .slice(0, askedMax)
}

/**
 * Undefined where this worker fell silent: no other is asked, because the prompt may be what silenced it. What is wrong
 * with the prompt is thrown.
 */
async function ask(
  line: RequestContext,
  tenantId: string,
  { workerId, keyEpoch, url }: WorkerEndpoint,
  shaped: PreparedRequest,
  body: Uint8Array<ArrayBuffer>,
): Promise<CountAnswer | 'busy' | undefined> {
  const within = budgets.countAnswerMs.value
  const question: CountQuestion = {
    workerId,
    tenantId,
    effort: shaped.effort.effective,
    bodyDigest: await digest(body),
    expiresAt: Date.now() + within,
  }
  const key = await workerSealKey(line.settings.fleet, workerId, keyEpoch)
  const token = await seal('count', question, keyIdOf({ workerId, epoch: keyEpoch }), key)
  let answer: unknown
  let answered = false
  try {
    const response = await fetch(below(url, countPath), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      // A redirect would lead past the address of the worker's enrolment, and take the prompt along.
      redirect: 'manual',
      body,
      signal: AbortSignal.any([line.left, AbortSignal.timeout(within)]),
    })
    answered = response.ok
    answer = await response.json()
  } catch (error) {
    if (!line.left.aborted) logError(`worker ${workerId} did not count a prompt`, error)
    return undefined
  }
  if (answered) return CountAnswer.safeParse(answer).data
  const refusal = Refusal.safeParse(answer).data
  if (refusal?.code === 'invalid_value')
    throw new GatewayError('invalid_value', refusal.message, { param: refusal.param ?? null })
  return refusal ? 'busy' : undefined
}
