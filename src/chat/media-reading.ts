/**
 * Lets a worker fetch and read a request's documents and image addresses before the request holds a slot: one signed
 * question to one worker, aborted when the client leaves. The worker keeps the result for the dispatch that follows.
 */

import { below } from '../../backends/contract/root.ts'
import { needsReading } from '../../backends/model/media.ts'
import { type MediaQuestion, mediaAnswerMs, mediaPath } from '../../backends/wire/media-question.ts'
import { digest } from '../../backends/wire/seal.ts'
import { sealFor } from '../auth/worker-key.ts'
import type { WorkerEndpoint } from '../fleet/state.ts'
import type { RequestContext } from './context.ts'
import { type Dispatched, send } from './dispatch.ts'
import type { PreparedRequest } from './prepare.ts'
import { watchWorker } from './worker-watch.ts'

export function hasMediaToRead({ chat }: PreparedRequest): boolean {
  return chat.messages.some(({ content }) => content.some(needsReading))
}

/** The result, as for a dispatch; `prepared` means that the worker has read everything. Never rejects. */
export async function readMediaAt(
  context: RequestContext,
  tenantId: string,
  endpoint: WorkerEndpoint,
  body: Uint8Array<ArrayBuffer>,
  turn: number,
  now: number,
): Promise<Dispatched> {
  const { workerId, url } = endpoint
  const question: MediaQuestion = {
    questionId: `${context.requestId}.m${turn}`,
    requestId: context.requestId,
    workerId,
    tenantId,
    bodyDigest: await digest(body),
    issuedAt: now,
    expiresAt: now + mediaAnswerMs,
  }
  const token = await sealFor(context.settings.fleetSecrets, endpoint, 'media', question)
  // Reading takes about as long as detecting a silent worker, so the worker is watched from the start.
  const watch = watchWorker(context, { endpoint })
  watch.begin()
  try {
    const late = AbortSignal.timeout(mediaAnswerMs)
    const answer = await send(below(url, mediaPath), token, body, AbortSignal.any([watch.lost, late]))
    if (answer.kind === 'prepared') await answer.rest.cancel().catch(() => undefined)
    return answer
  } finally {
    watch.stop()
  }
}
