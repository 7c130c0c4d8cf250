/** Reads the body of a signed request, limits its size, and checks it against the signed digest. */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { budgets } from '../backends/model/budgets.ts'
import type { Refusal } from '../backends/wire/dispatch.ts'

export type SignedBody =
  | { kind: 'read'; bytes: Buffer }
  /** `unread`: part of the body was not read. */
  | { kind: 'refused'; refusal: Refusal; unread: boolean }
  /** The sender disconnected before the end. */
  | { kind: 'gone' }

const bytesMax = budgets.dispatchBodyBytes.value

/** @param digest SHA-256, base64url */
export async function readSignedBody(request: IncomingMessage, digest: string): Promise<SignedBody> {
  const hash = createHash('sha256')
  const parts: Buffer[] = []
  let length = 0
  try {
    // Without this, leaving the loop destroys the connection before the refusal is sent.
    for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      length += part.length
      if (length > bytesMax) return refused(`the body is larger than ${bytesMax} bytes. Send a smaller body`, true)
      hash.update(part)
      parts.push(part)
    }
  } catch {
    return { kind: 'gone' }
  }
  if (hash.digest('base64url') !== digest) return refused('the body does not match its signature', false)
  return { kind: 'read', bytes: Buffer.concat(parts) }
}

function refused(message: string, unread: boolean): SignedBody {
  return { kind: 'refused', refusal: { code: 'bad_dispatch', message }, unread }
}
