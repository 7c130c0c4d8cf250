/** A chat request, in any dialect, from its headers to its answer. Settlement follows with the worker's receipt. */
import type { ApiKey } from '../auth/api-key.ts'
import { authenticate } from '../auth/authenticate.ts'
import type { ParsedRequest } from '../dialects/dialect.ts'
import { tagsHeader } from '../dialects/usage-labels.ts'
import { beginIdempotent } from '../responses/idempotency.ts'
import { keepResponse } from '../responses/previous-response.ts'
import { keyCheck } from '../tenant/key-check.ts'
import type { Admission } from '../tenant/rpc.ts'
import type { RequestContext } from './context.ts'
import { deliver } from './deliver.ts'
import { fitFleet } from './fit-fleet.ts'
import { answerHeaders } from './headers.ts'
import { OpenRequest } from './open-request.ts'
import { type PreparedRequest, prepare } from './prepare.ts'
import { parseBody, readChatBody, workerBody } from './read-body.ts'
import { reserve } from './reserve.ts'
import { Attempts } from './run-attempts.ts'
import { takeRates } from './take-rates.ts'
import { type Transcoder, transcoderOf } from './transcoder.ts'

export async function chat(request: Request, context: RequestContext): Promise<Response> {
  const key = await authenticate(request.headers, context.settings)
  const check = keyCheck(context.env, key)
  const open = new OpenRequest(context, key, check)
  try {
    const body = await readChatBody(request, context, key, check)
    const parsed = await parseBody(body, context, key, check, request.headers.get(tagsHeader))
    const bytes = workerBody(parsed, body)
    const estimated = prepare(parsed, bytes.byteLength, context.settings.models)
    const prepared = await fitFleet(context, parsed, estimated, Date.now())
    const idempotency = await beginIdempotent(request, context, key, check, prepared, body.digest)
    if (idempotency.kind === 'replayed') {
      await takeRates(context, key, 0)
      return idempotency.response
    }
    const admission = await open.reserve(idempotency, () => reserve(context, key, prepared, parsed.labels))
    const attempts = open.watch(new Attempts({ context, key, prepared, admission, bytes, started: open.started }))
    return await deliver({
      context,
      attempts,
      stream: prepared.chat.stream,
      transcoder: transcoderFor(context, key, parsed, prepared, admission),
      idempotency,
      headers: (origin) => answerHeaders(context, prepared, admission, origin),
    })
  } catch (error) {
    throw await open.failed(error)
  }
}

/** Undefined for Chat Completions: the worker's bytes pass unchanged. */
function transcoderFor(
  context: RequestContext,
  key: ApiKey,
  parsed: ParsedRequest,
  { effort, promptTokens, model }: PreparedRequest,
  { responseDays }: Admission,
): Transcoder | undefined {
  const { requestId } = context
  const writer = parsed.writer?.({ requestId, now: () => Date.now(), model: model.id, effort, promptTokens })
  return writer && transcoderOf(writer, (stored) => keepResponse(context, key, stored, responseDays))
}
