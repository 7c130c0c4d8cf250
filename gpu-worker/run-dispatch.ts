/**
 * From a verified dispatch to its answer. What is refused before a slot is taken has a status of its own. After it the
 * head goes out at once, and a refusal is the answer's first line; see `backends/wire/prelude.ts`.
 *
 *   draining? ▶ chat ▶ media on the shelf ▶ slot ▶ head ▶ prepare ▶ bound ▶ relay
 */
import type { ServerResponse } from 'node:http'
import { type Chat, type Message, readChat } from '../backends/model/chat.ts'
import type { Dispatch, Refusal } from '../backends/wire/dispatch.ts'
import { preludeLine } from '../backends/wire/prelude.ts'
import { EngineFailure } from './engine/engine.ts'
import type { MediaReader } from './media/resolver.ts'
import { boundOutput, type RelayParts, relay } from './relay.ts'
import type { Slots } from './slots.ts'

export interface DispatchParts extends RelayParts {
  slots: Slots
  /** Reads images and documents, and makes of them what the engine takes. */
  media: MediaReader
  draining: () => boolean
  /** A slot was taken or given back. */
  changed: () => void
  log: (line: string) => void
}

/** Resolves with the refusal that the caller writes, where no slot was taken; all else is answered here. */
export async function runDispatch(
  parts: DispatchParts,
  order: Dispatch,
  body: Uint8Array,
  response: ServerResponse,
  refused: (refusal: Refusal) => void,
): Promise<Refusal | undefined> {
  const read = readBody(body)
  if (!read.ok) return read
  const media = { vision: parts.engine.description.vision, owner: order.tenantId }
  if (!media.vision && needsVision(read.chat)) return noVision
  const kept = await parts.media.kept(read.chat, media)
  if (!kept.ok) return kept
  if (parts.draining()) return draining
  const slot = parts.slots.take(order.requestId)
  if (slot === undefined) return { code: 'no_slot', message: 'every slot is taken' }
  parts.changed()
  try {
    writeHead(response)
    const refusal = await answer(parts, order, kept.chat, slot, response)
    if (!refusal || response.destroyed) return undefined
    refused(refusal)
    response.end(preludeLine({ kind: 'refused', refusal }))
  } finally {
    parts.slots.release(order.requestId)
    parts.changed()
  }
  return undefined
}

export const draining: Refusal = { code: 'draining', message: 'this worker is shutting down' }

/** The body of a dispatch, or of a question about one. */
export function readBody(body: Uint8Array): { ok: true; chat: Chat } | ({ ok: false } & Refusal) {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder().decode(body))
  } catch {
    return { ok: false, code: 'invalid_value', message: 'the body is not JSON, or is nested too deeply' }
  }
  return readChat(value)
}

/** A proxy on the way passes the bytes of this type on as they come; of another type it may gather them. */
export function writeHead(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
  response.flushHeaders()
}

/** Never rejects. */
async function answer(
  parts: DispatchParts,
  order: Dispatch,
  chat: Chat,
  slot: number,
  response: ServerResponse,
): Promise<Refusal | undefined> {
  const left = new AbortController()
  const leave = () => left.abort(new Error('the client left'))
  response.on('close', leave)
  if (response.destroyed) leave()
  try {
    const prepared = await parts.engine.prepare(chat, order.effort, left.signal)
    if (left.signal.aborted) return undefined
    if (!prepared.ok) return prepared
    const bound = boundOutput(prepared, order)
    if (typeof bound !== 'number') return bound
    return await relay(parts, { dispatch: order, chat, prepared, outputTokensMax: bound, slot }, response)
  } catch (error) {
    if (left.signal.aborted) return undefined
    if (error instanceof EngineFailure) return { code: 'engine_down', message: error.message }
    return internalError(parts, error)
  } finally {
    response.off('close', leave)
  }
}

/** Of this request alone: the same would happen on another worker. */
export function internalError({ log }: Pick<DispatchParts, 'log'>, error: unknown): Refusal {
  log(`a request failed: ${error instanceof Error ? error.stack : error}`)
  return { code: 'internal_error', message: 'an internal error of the worker' }
}

/** A tool's result stays in a conversation for ever; there the engine leaves an image out. */
function hasImage({ role, content }: Message): boolean {
  return role !== 'tool' && content.some(({ kind }) => kind === 'image')
}

export function needsVision(chat: Chat): boolean {
  return chat.messages.some(hasImage)
}

/** This worker cannot; another may. */
export const noVision: Refusal = {
  code: 'no_vision',
  message: 'messages: the engine that was to answer has no vision; leave the image out',
  param: 'messages',
}
