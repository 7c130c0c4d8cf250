/** Reads a request's body as JSON, bounded. Nothing above the bound is ever held in memory. */
import { GatewayError } from '../errors.ts'

/** 32 MiB: a long conversation with images; more is refused. */
export const bodyBytesMax = 32 * 1024 * 1024

/** As many times that is read and dropped before the refusal: a client that is cut off while it sends never reads why. */
const drainedTimes = 2

export interface JsonBody {
  bytes: Uint8Array<ArrayBuffer>
  value: unknown
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })

/** @param bytesMax the bound, in bytes; a smaller one where nobody has shown a key yet */
export async function readJsonBody(request: Request, bytesMax = bodyBytesMax): Promise<JsonBody> {
  const declared = Number(request.headers.get('content-length') ?? 0)
  if (declared > drainedTimes * bytesMax) throw tooLarge(bytesMax)
  const bytes = await readBounded(request, declared, bytesMax)
  try {
    return { bytes, value: JSON.parse(decoder.decode(bytes)) }
  } catch (cause) {
    const reason = cause instanceof SyntaxError ? cause.message : 'it is not UTF-8, or nested too deeply'
    throw new GatewayError('invalid_json', `the body is not JSON: ${reason}`, { cause })
  }
}

async function readBounded(request: Request, declared: number, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
  // A declared length is enforced by the HTTP parser, so the whole body can be taken at once.
  if (declared > 0 && declared <= bytesMax) return new Uint8Array(await request.arrayBuffer())
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of request.body ?? []) {
    length += part.byteLength
    if (length > drainedTimes * bytesMax) throw tooLarge(bytesMax)
    if (length > bytesMax) parts.length = 0
    else parts.push(part)
  }
  if (length > bytesMax) throw tooLarge(bytesMax)
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.byteLength
  }
  return bytes
}

function tooLarge(bytesMax: number): GatewayError {
  return new GatewayError('request_too_large', `the body is larger than ${bytesMax} bytes: send less in one request`)
}
