/**
 * The line. A chat request, of whichever surface, passes these rooms in this order and no other:
 *
 *   auth ─▶ shape ─▶ reserve ─▶ route ─▶ dispatch ─▶ relay          (settlement: the worker's receipt, see settlement/)
 */
import { chatBody } from '../backends/protocol/chat-body.ts'
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
import { noPast } from './surfaces/surface.ts'
import { reserve } from './tenant/reserve.ts'

export async function chat(request: Request, line: Line): Promise<Response> {
  const { surface, settings } = line
  const key = await authenticate(request.headers, settings.macKey)
  const body = await readJsonBody(request)
  const read = surface.read(
    body.value,
    surface.refers?.(body.value)?.previousId ? { ...noPast, turns: undefined } : noPast,
  )
  if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
  const { asked } = read
  // Only Chat Completions is what workers speak: its bytes go on as they came.
  const bytes = asked.writer ? new Uint8Array(encoder.encode(chatBody(asked.chat))) : body.bytes
  const shaped = await withSight(line, asked, shape(asked, bytes.byteLength, settings.models))
  const reservation = await reserve(line, key, shaped)
  const headers = answerHeaders(line, shaped, reservation)
  const workers = serve(line, key, shaped, reservation, bytes)
  const service = lastResort(line, key, shaped, reservation, headers, workers)
  const { requestId } = line
  const { effort, promptTokens, model } = shaped
  const writer = asked.writer?.({ requestId, now: () => Date.now(), model: model.id, effort, promptTokens })
  const voice = writer && voiceOf(writer, () => Promise.resolve(false))
  return shaped.chat.stream ? relayStream(line, service, headers, voice) : relayWhole(line, service, headers, voice)
}

const encoder = new TextEncoder()
