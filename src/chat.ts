/**
 * The line. A chat request, of whichever surface, passes these rooms in this order and no other:
 *
 *   auth ─▶ shape ─▶ reserve ─▶ route ─▶ dispatch ─▶ relay          (settlement: the worker's receipt, see settlement/)
 *
 * Two things stand beside it, for requests that ask for them: what they refer to is recalled before they are shaped, and
 * an answer that was given before is given again (see answers/).
 */
import { chatBody } from '../backends/protocol/chat-body.ts'
import { keepResponse, recall } from './answers/recall.ts'
import { type Attempt, idempotencyKeyOf, replay } from './answers/replay.ts'
import type { ApiKey } from './auth/api-key.ts'
import { authenticate } from './auth/authenticate.ts'
import { lastResort } from './dispatch/hosted.ts'
import { relayStream, relayWhole } from './dispatch/relay.ts'
import { serve } from './dispatch/serve.ts'
import { voiceOf } from './dispatch/voice.ts'
import { GatewayError } from './errors.ts'
import type { Line } from './line.ts'
import { answerHeaders } from './metering/headers.ts'
import { withSight } from './routing/sight.ts'
import { readJsonBody } from './shaping/body.ts'
import { shape } from './shaping/shape.ts'
import { type Asked, noPast } from './surfaces/surface.ts'
import { reserve } from './tenant/reserve.ts'

export async function chat(request: Request, line: Line): Promise<Response> {
  const { surface, settings } = line
  const key = await authenticate(request.headers, settings.macKey)
  const body = await readJsonBody(request)
  const past = surface.refers ? await recall(line, key, surface.refers(body.value)) : noPast
  const read = surface.read(body.value, past)
  if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
  const { asked } = read
  // Only Chat Completions is what workers speak: its bytes go on as they came.
  const bytes = asked.writer ? new Uint8Array(encoder.encode(chatBody(asked.chat))) : body.bytes
  if (idempotencyKeyOf(request) === null) return answer(line, key, asked, bytes, undefined)
  if (asked.chat.stream) {
    asked.warnings.push('idempotency-key: answers that stream are not kept, ignored')
    return answer(line, key, asked, bytes, undefined)
  }
  const before = await replay(request, line, key, body.bytes)
  if (before instanceof Response) return before
  return answer(line, key, asked, bytes, before).catch((error: unknown) => {
    before?.drop()
    throw error
  })
}

async function answer(
  line: Line,
  key: ApiKey,
  asked: Asked,
  bytes: Uint8Array<ArrayBuffer>,
  attempt: Attempt | undefined,
): Promise<Response> {
  const shaped = await withSight(line, asked, shape(asked, bytes.byteLength, line.settings.models))
  const reservation = await reserve(line, key, shaped)
  const headers = answerHeaders(line, shaped, reservation)
  const workers = serve(line, key, shaped, reservation, bytes)
  const service = lastResort(line, key, shaped, reservation, headers, workers)
  const { effort, promptTokens, model } = shaped
  const { requestId } = line
  const writer = asked.writer?.({ requestId, now: () => Date.now(), model: model.id, effort, promptTokens })
  const voice = writer && voiceOf(writer, (kept) => keepResponse(line, key, kept, reservation.responseDays))
  return shaped.chat.stream
    ? relayStream(line, service, headers, voice)
    : relayWhole(line, service, headers, voice, attempt)
}

const encoder = new TextEncoder()
