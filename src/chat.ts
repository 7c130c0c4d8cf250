/**
 * The line. A chat request passes these rooms in this order and no other:
 *
 *   auth ─▶ shape ─▶ reserve ─▶ route ─▶ dispatch ─▶ relay          (settlement: the worker's receipt, see settlement/)
 */
import { authenticate } from './auth/authenticate.ts'
import { lastResort } from './dispatch/hosted.ts'
import { relayStream, relayWhole } from './dispatch/relay.ts'
import { serve } from './dispatch/serve.ts'
import type { Line } from './line.ts'
import { answerHeaders } from './metering/headers.ts'
import { readJsonBody } from './shaping/body.ts'
import { shape } from './shaping/shape.ts'
import { reserve } from './tenant/reserve.ts'

export async function chat(request: Request, line: Line): Promise<Response> {
  const key = await authenticate(request.headers, line.settings.macKey)
  const body = await readJsonBody(request)
  const shaped = shape(body.value, body.bytes.byteLength, line.settings.models)
  const reservation = await reserve(line, key, shaped)
  const headers = answerHeaders(line, shaped, reservation)
  const workers = serve(line, key, shaped, reservation, body.bytes)
  const service = lastResort(line, key, shaped, reservation, headers, workers)
  return shaped.chat.stream ? relayStream(line, service, headers) : relayWhole(line, service, headers)
}
