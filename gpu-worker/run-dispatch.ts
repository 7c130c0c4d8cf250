/**
 * Answers a verified dispatch. A refusal before the slot is taken has its own HTTP status. Once the slot is taken, the
 * head is sent at once, and a refusal is the first line of the body; see `backends/wire/prelude.ts`.
 *
 *   draining? ▶ chat ▶ cached media ▶ slot ▶ head ▶ prepare ▶ bound ▶ relay
 */
import type { ServerResponse } from 'node:http'
import { type Chat, type Message, readChat } from '../backends/model/chat.ts'
import { repairRequest } from '../backends/model/repair-text.ts'
import { chatSchemaPlaces, withSchemaTexts } from '../backends/model/schema-texts.ts'
import type { Dispatch, Refusal } from '../backends/wire/dispatch.ts'
import { preludeLine } from '../backends/wire/prelude.ts'
import { EngineFailure } from './engine/engine.ts'
import type { MediaReader } from './media/resolver.ts'
import { boundOutput, type RelayParts, relay } from './relay.ts'
import type { Slots } from './slots.ts'

export interface DispatchParts extends RelayParts {
  slots: Slots
  /** Reads images and documents, and converts them to what the engine accepts. */
  media: MediaReader
  draining: () => boolean
  /** Called when a slot was taken or released. */
  changed: () => void
  log: (line: string) => void
}

/** Resolves with a refusal for the caller to write if no slot was taken; otherwise writes the answer itself. */
export async function runDispatch(
  parts: DispatchParts,
  dispatch: Dispatch,
  body: Uint8Array,
  response: ServerResponse,
  refused: (refusal: Refusal) => void,
): Promise<Refusal | undefined> {
  const read = readBody(body)
  if (!read.ok) return read
  const { vision, images } = parts.engine.description
  const media = { vision, images, owner: dispatch.tenantId }
  if (!media.vision && needsVision(read.chat)) return noVision
  const resolved = await parts.media.kept(read.chat, media)
  if (!resolved.ok) return resolved
  if (parts.draining()) return draining
  const slot = parts.slots.take(dispatch.requestId)
  if (slot === undefined) return { code: 'no_slot', message: 'every slot of this worker is in use' }
  parts.changed()
  try {
    writeHead(response)
    const refusal = await answer(parts, dispatch, resolved.chat, slot, response)
    if (!refusal || response.destroyed) return undefined
    refused(refusal)
    response.end(preludeLine({ kind: 'refused', refusal }))
  } finally {
    parts.slots.release(dispatch.requestId)
    parts.changed()
  }
  return undefined
}

export const draining: Refusal = { code: 'draining', message: 'this worker is shutting down' }

/** Reads the body of a dispatch, or of a question about one. */
export function readBody(body: Uint8Array): { ok: true; chat: Chat } | ({ ok: false } & Refusal) {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder().decode(body))
  } catch {
    return { ok: false, code: 'invalid_value', message: 'the body is not valid JSON, or is nested too deeply' }
  }
  const read = readChat(value)
  // The gateway passes some bodies on unchanged, and has sent the warnings.
  return read.ok ? repairRequest({ ...read, chat: withSchemaTexts(read.chat, body, chatSchemaPlaces) }) : read
}

/** A proxy forwards bytes of this content type as they come; it may buffer other types. */
export function writeHead(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
  response.flushHeaders()
}

/** Never rejects. */
async function answer(
  parts: DispatchParts,
  dispatch: Dispatch,
  chat: Chat,
  slot: number,
  response: ServerResponse,
): Promise<Refusal | undefined> {
  const left = new AbortController()
  const leave = () => left.abort(new Error('the client disconnected'))
  response.on('close', leave)
  if (response.destroyed) leave()
  try {
    const prepared = await parts.engine.prepare(chat, dispatch.effort, left.signal)
    if (left.signal.aborted) return undefined
    if (!prepared.ok) return prepared
    const bound = boundOutput(prepared, dispatch)
    if ('code' in bound) return bound
    const freeSlot = () => parts.slots.free(dispatch.requestId)
    return await relay(parts, { dispatch, chat, prepared, bound, slot, freeSlot }, response)
  } catch (error) {
    if (left.signal.aborted) return undefined
    if (error instanceof EngineFailure) return { code: 'engine_down', message: error.message }
    return internalError(parts, error)
  } finally {
    response.off('close', leave)
  }
}

/** An error of this request alone: it would happen on another worker too. */
export function internalError({ log }: Pick<DispatchParts, 'log'>, error: unknown): Refusal {
  log(`a request failed: ${error instanceof Error ? error.stack : error}`)
  return { code: 'internal_error', message: 'internal error of the worker' }
}

/** Images in tool results do not count: they stay in the conversation, and the engine leaves them out. */
function hasImage({ role, content }: Message): boolean {
  return role !== 'tool' && content.some(({ kind }) => kind === 'image')
}

export function needsVision(chat: Chat): boolean {
  return chat.messages.some(hasImage)
}

/** Another worker may have vision, so the edge can try it. */
export const noVision: Refusal = {
  code: 'no_vision',
  message: 'messages: the engine of this worker has no vision. Remove the image',
  param: 'messages',
}
