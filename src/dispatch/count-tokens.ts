/**
 * `POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`: how long a prompt is, from an engine that
 * serves the model, exactly; where none can say (none is up, all are busy, or the prompt has media, which are not read
 * for a count), an estimate that says so.
 */
import { chatBody } from '../../backends/protocol/chat-body.ts'
import { CountAnswer, type CountQuestion, countPath } from '../../backends/protocol/count.ts'
import { digest, seal } from '../../backends/protocol/seal.ts'
import { keyIdOf } from '../../backends/protocol/worker-key.ts'
import { below } from '../../backends/root.ts'
import { recall } from '../answers/recall.ts'
import { authenticate } from '../auth/authenticate.ts'
import { workerSealKey } from '../auth/fleet.ts'
import { GatewayError } from '../errors.ts'
import type { Line } from '../line.ts'
import { fleetOf } from '../routing/fleet.ts'
import type { Place } from '../routing/pool.ts'
import { homeOf } from '../routing/targets.ts'
import { readJsonBody } from '../shaping/body.ts'
import { type Shaped, shape } from '../shaping/shape.ts'
import { noPast } from '../surfaces/surface.ts'
import { tenantStub } from '../tenant/reserve.ts'

const answerWithinMs = 5_000
/** Workers that are asked, one after the other, before it is estimated. */
const askedMax = 2

export async function countTokens(request: Request, line: Line): Promise<Response> {
  const { surface } = line
  const key = await authenticate(request.headers, line.settings.macKey)
  const { tenantId, keyId, secretHash } = key
  const body = await readJsonBody(request)
  const known = await tenantStub(line, tenantId).identify({ kind: 'key', keyId, secretHash }, 'ask')
  if (!known.ok) throw new GatewayError(known.code, known.message, { param: known.param })
  const past = surface.refers ? await recall(line, key, surface.refers(body.value)) : noPast
  const read = (surface.readPrompt ?? surface.read)(body.value, past)
  if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
  const bytes = new Uint8Array(new TextEncoder().encode(chatBody(read.asked.chat)))
  const shaped = shape(read.asked, bytes.byteLength, line.settings.models)
  const counted = await countAtWorker(line, tenantId, shaped, bytes)
  const { promptTokens, estimated } = counted ?? { promptTokens: shaped.promptTokens, estimated: true }
  const headers = new Headers({
    'x-request-id': line.requestId,
    'request-id': line.requestId,
    'x-tramontane-estimated': String(estimated),
  })
  if (shaped.warnings.length > 0) headers.set('x-tramontane-warnings', shaped.warnings.join('; '))
  const object = surface.name === 'responses' && { object: 'response.input_tokens' }
  return Response.json({ ...object, input_tokens: promptTokens, ...(estimated && { estimated }) }, { headers })
}

async function countAtWorker(
  line: Line,
  tenantId: string,
  shaped: Shaped,
  body: Uint8Array<ArrayBuffer>,
): Promise<CountAnswer | undefined> {
  const { images, documents } = shaped.media
  if (images + documents > 0) return undefined
  for (const place of await placesFor(line, shaped)) {
    const answer = await ask(line, tenantId, place, shaped, body)
    if (answer) return answer
  }
  return undefined
}

async function placesFor(line: Line, shaped: Shaped): Promise<Place[]> {
  const fleet = fleetOf(line.env)
  const [{ workers }, { present }] = await Promise.all([fleet.view(), fleet.registry()])
  const serve = new Set(
    workers.flatMap(({ workerId, model, state }) => (model === shaped.model.id && state === 'ready' ? [workerId] : [])),
  )
  const home = homeOf(shaped.effort.effective)
  const away = ({ pool }: Place) => Number(pool !== home)
  return present
    .filter(({ workerId }) => serve.has(workerId))
    .sort((a, b) => away(a) - away(b))
    .slice(0, askedMax)
}

/** Undefined where this worker cannot say; what is wrong with the prompt is thrown. */
async function ask(
  line: Line,
  tenantId: string,
  { workerId, keyEpoch, url }: Place,
  shaped: Shaped,
  body: Uint8Array<ArrayBuffer>,
): Promise<CountAnswer | undefined> {
  const question: CountQuestion = {
    workerId,
    tenantId,
    effort: shaped.effort.effective,
    bodyDigest: await digest(body),
    expiresAt: Date.now() + answerWithinMs,
  }
  const key = await workerSealKey(line.settings.fleet, workerId, keyEpoch)
  const token = await seal('count', question, keyIdOf({ workerId, epoch: keyEpoch }), key)
  try {
    const response = await fetch(below(url, countPath), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body,
      signal: AbortSignal.any([line.left, AbortSignal.timeout(answerWithinMs)]),
    })
    if (response.ok) return CountAnswer.parse(await response.json())
    await response.body?.cancel()
  } catch (error) {
    console.warn(`worker ${workerId} did not count a prompt`, error)
  }
  return undefined
}
