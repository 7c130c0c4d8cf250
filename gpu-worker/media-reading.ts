/**
 * Answers the edge's media question: reads a request's documents and image addresses before the request holds a lease
 * or a slot, and caches the result for the dispatch. Concurrency is limited and tenants take turns. A waiting request
 * holds only its connection; its body is not read yet.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { budgets } from '../backends/model/budgets.ts'
import type { Refusal } from '../backends/wire/dispatch.ts'
import { type MediaQuestion, mediaBusy } from '../backends/wire/media-question.ts'
import { preludeLine } from '../backends/wire/prelude.ts'
import { type Entered, FairGate } from './media/fair-gate.ts'
import { type DispatchParts, internalError, needsVision, noVision, readBody, writeHead } from './run-dispatch.ts'
import { readSignedBody } from './signed-body.ts'

const { mediaReadingPerTenant, mediaWaitingPerTenant, mediaWaitMs } = budgets

export function newMediaGate(): FairGate {
  return new FairGate({
    atOnce: budgets.mediaReadingPerWorker.value,
    perOwner: mediaReadingPerTenant.value,
    waiting: budgets.mediaWaitingPerWorker.value,
    waitingPerOwner: mediaWaitingPerTenant.value,
  })
}

/** A refusal for the caller to write; undefined if the answer was written here. `unread`: the body was not read. */
export type Unanswered = { refusal: Refusal; unread: boolean } | undefined

export async function answerMedia(
  parts: DispatchParts,
  gate: FairGate,
  question: MediaQuestion,
  request: IncomingMessage,
  response: ServerResponse,
  refused: (refusal: Refusal) => void,
): Promise<Unanswered> {
  const left = new AbortController()
  const leave = () => left.abort(new Error('the client disconnected'))
  response.on('close', leave)
  if (response.destroyed) leave()
  try {
    const entered = await enter(gate, question.tenantId, left.signal)
    if (left.signal.aborted) {
      if (entered.ok) entered.leave()
      return undefined
    }
    if (!entered.ok) return { refusal: entered.full === 'owner' ? tenantBusy : workerBusy, unread: true }
    try {
      return await readInTurn(parts, question, request, response, left.signal, refused)
    } finally {
      entered.leave()
    }
  } finally {
    response.off('close', leave)
  }
}

/** Never rejects. A wait that times out returns `full: 'all'`. */
async function enter(gate: FairGate, tenantId: string, left: AbortSignal): Promise<Entered> {
  const late = AbortSignal.timeout(mediaWaitMs.value)
  return gate.enter(tenantId, AbortSignal.any([left, late])).catch(() => ({ ok: false, full: 'all' }) as const)
}

async function readInTurn(
  parts: DispatchParts,
  { tenantId, bodyDigest }: MediaQuestion,
  request: IncomingMessage,
  response: ServerResponse,
  left: AbortSignal,
  refused: (refusal: Refusal) => void,
): Promise<Unanswered> {
  const body = await readSignedBody(request, bodyDigest)
  if (body.kind === 'gone') return undefined
  if (body.kind === 'refused') return body
  const read = readBody(body.bytes)
  if (!read.ok) return { refusal: read, unread: false }
  const { vision, images } = parts.engine.description
  const media = { vision, images, owner: tenantId }
  if (!media.vision && needsVision(read.chat)) return { refusal: noVision, unread: false }
  writeHead(response)
  const resolved = await parts.media.read(read.chat, media, left).catch((error: unknown) => {
    if (left.aborted) return undefined
    return { ok: false as const, ...internalError(parts, error) }
  })
  if (!resolved || response.destroyed) return undefined
  if (!resolved.ok) refused(resolved)
  response.end(preludeLine(resolved.ok ? { kind: 'prepared', warnings: [] } : { kind: 'refused', refusal: resolved }))
  return undefined
}

const tenantBusy: Refusal = {
  code: mediaBusy.tenant,
  message: `documents: ${mediaReadingPerTenant.value} requests with documents or image addresses are read at a time per tenant, and ${mediaWaitingPerTenant.value} may wait. Send fewer at once`,
}
const workerBusy: Refusal = {
  code: mediaBusy.worker,
  message: 'documents: every reader is busy with other requests. Retry in a moment',
}
