/**
 * Reads a request's body as JSON. Bytes, structure and memory are bounded while the body arrives, so that no body can
 * exhaust the isolate's memory. A refused body holds no memory.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { type BodyHold, BodyMemory } from './body-memory.ts'
import { GatewayError } from './errors.ts'
import { type JsonFault, JsonScan, parseMemory, parseScanned, valueBytes } from './json-scan.ts'

/** Reads up to this many times the limit before the refusal: a client cut off while sending never reads it. */
const drainedTimes = 4
const drainMs = 10_000
/** Measured memory of one value: while a schema refuses it, and when it is kept. */
const bytesPerValueRead = 1_000
const bytesPerValueKept = 100
/** Parsing less than this does not count against the isolate's memory. */
const freeMemoryBytes = 2 * 1024 * 1024
const firstBytes = 64 * 1024

/** Shared by all requests of this isolate. */
const memory = new BodyMemory(budgets.bodyMemoryBytes.value)

export interface JsonBody {
  bytes: Uint8Array<ArrayBuffer>
  value: unknown
  /** Approximate memory of the value's strings and objects, in bytes. */
  valueBytes: number
  /** The memory that the body takes; null for a small body. The caller of `readJsonBody` releases it. */
  hold: BodyHold | null
}

export interface BodyOptions {
  bytesMax: number
  /** Called once, before more than `bodyLargeBytes` are held. A rejection ends the reading. */
  beforeLarge?: (() => Promise<unknown>) | undefined
  /** The tenant whose share of the isolate's memory the body takes. */
  tenantId?: string
}

export async function readJsonBody(request: Request, options: BodyOptions): Promise<JsonBody> {
  const declared = Number(request.headers.get('content-length') ?? 0)
  if (declared > drainedTimes * options.bytesMax) throw tooLarge(options.bytesMax)
  const scan = new JsonScan({
    valuesMax: budgets.bodyValues.value,
    depthMax: budgets.bodyDepth.value,
    longStringBytes: budgets.bodyNameBytes.value,
  })
  const hold = memory.open(options.tenantId ?? '')
  try {
    const bytes = await readScanned(request, declared, options, scan, hold)
    return parsed(bytes, scan, hold)
  } catch (error) {
    hold.release()
    throw error
  }
}

function parsed(bytes: Uint8Array<ArrayBuffer>, scan: JsonScan, hold: BodyHold): JsonBody {
  const needed = parseMemory(scan, bytesPerValueRead)
  if (needed > budgets.bodyMemoryBytes.value) throw tooMuchMemory(needed)
  const large = needed > freeMemoryBytes
  if (large && !hold.fits(needed)) throw crowded()
  const value = parse(bytes, scan)
  const keptBytes = valueBytes(scan) + scan.values * bytesPerValueKept
  if (large) hold.resize(bytes.byteLength + keptBytes)
  else hold.release()
  return { bytes, value, valueBytes: keptBytes, hold: large ? hold : null }
}

function parse(bytes: Uint8Array<ArrayBuffer>, scan: JsonScan): unknown {
  try {
    return parseScanned(bytes, scan, `${crypto.randomUUID()}.`)
  } catch (cause) {
    const reason = cause instanceof SyntaxError ? cause.message : 'the text is not UTF-8'
    throw new GatewayError('invalid_json', `body: is not JSON: ${reason}. Send valid JSON.`, { cause })
  }
}

async function readScanned(
  request: Request,
  declared: number,
  { bytesMax, beforeLarge }: BodyOptions,
  scan: JsonScan,
  hold: BodyHold,
): Promise<Uint8Array<ArrayBuffer>> {
  const deadline = new Deadline()
  const encoding = encodingOf(request)
  try {
    if (encoding) {
      const stream = request.body && expanded(request.body, encoding)
      const expandedMax = Math.min(bytesMax, budgets.bodyExpandedBytes.value)
      const reading = { declared: 0, bytesMax: expandedMax, beforeLarge, scan, hold, deadline, encoding }
      return await readParts(stream, reading)
    }
    if (declared > budgets.bodyLargeBytes.value) await checked(request, beforeLarge)
    // The HTTP parser enforces a declared length, so a small body can be read in one step.
    else if (declared > 0 && declared <= bytesMax) {
      const bytes = new Uint8Array(await deadline.within(request.arrayBuffer()))
      const fault = scan.push(bytes)
      if (fault) throw refusalOf(fault)
      return bytes
    }
    return await readParts(request.body, { declared, bytesMax, beforeLarge, scan, hold, deadline })
  } finally {
    deadline.stop()
  }
}

interface Reading extends BodyOptions {
  declared: number
  scan: JsonScan
  hold: BodyHold
  deadline: Deadline
  encoding?: ContentEncoding
}

type ContentEncoding = 'gzip' | 'deflate'

/** Undefined for a body that is not compressed. */
function encodingOf(request: Request): ContentEncoding | undefined {
  const encoding = request.headers.get('content-encoding')?.trim().toLowerCase() || 'identity'
  if (encoding === 'identity') return undefined
  if (encoding === 'gzip' || encoding === 'deflate') return encoding
  throw new GatewayError(
    'invalid_value',
    'content-encoding: is not supported. Send gzip, deflate, or an uncompressed body.',
    { param: 'content-encoding' },
  )
}

const pieceBytes = 1_024
const freeExpansionBytes = 64 * 1_024

/**
 * Decompresses a body piece by piece, because the decompressor expands each piece whole. Ends with a refusal when it has
 * grown by more than `bodyExpansion`.
 */
function expanded(body: ReadableStream<Uint8Array>, encoding: ContentEncoding): ReadableStream<Uint8Array> {
  let sent = 0
  let length = 0
  const pieces = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      for (let at = 0; at < chunk.byteLength; at += pieceBytes) {
        const piece = chunk.slice(at, at + pieceBytes)
        sent += piece.byteLength
        controller.enqueue(piece)
      }
    },
  })
  const bounded = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      length += chunk.byteLength
      if (length > freeExpansionBytes + sent * budgets.bodyExpansion.value) throw tooDense()
      controller.enqueue(chunk)
    },
  })
  return body.pipeThrough(pieces).pipeThrough(new DecompressionStream(encoding)).pipeThrough(bounded)
}

async function readParts(
  stream: ReadableStream<Uint8Array> | null,
  reading: Reading,
): Promise<Uint8Array<ArrayBuffer>> {
  const { declared, bytesMax, beforeLarge, scan, hold, deadline, encoding } = reading
  if (!stream) return new Uint8Array()
  const reader = stream.getReader()
  const large = budgets.bodyLargeBytes.value
  let buffer = new ArrayBuffer(Math.min(firstBytes, bytesMax))
  let length = 0
  let refusal: GatewayError | undefined
  let isChecked = declared > large
  try {
    for (;;) {
      const { value, done } = await deadline.within(reader.read())
      if (done) break
      length += value.byteLength
      // The rest of a compressed body may be a thousand times as long as what was sent: it is not read.
      if (encoding && length > bytesMax) throw tooLong(bytesMax)
      if (length > drainedTimes * bytesMax) throw tooLarge(bytesMax)
      if (length > bytesMax) refusal ??= tooLarge(bytesMax)
      if (!refusal && !isChecked && length > large) {
        isChecked = true
        await beforeLarge?.()
      }
      if (!refusal) {
        const fault = scan.push(value)
        if (fault) refusal = refusalOf(fault)
      }
      if (!refusal && length > buffer.byteLength) {
        const size = Math.min(bytesMax, Math.max(length, 2 * buffer.byteLength))
        if (length > large && !hold.resize(size)) refusal = crowded()
        else buffer = buffer.transfer(size)
      }
      if (refusal) {
        // The rest of a compressed body costs far more to expand than it cost to send.
        if (encoding) throw refusal
        // The rest is read and dropped.
        hold.release()
        if (buffer.byteLength > 0) buffer = new ArrayBuffer(0)
      } else new Uint8Array(buffer, length - value.byteLength).set(value)
    }
  } catch (error) {
    reader.cancel(error).catch(() => undefined)
    throw refusal ?? (encoding && !(error instanceof GatewayError) ? notCompressed(encoding, error) : error)
  }
  if (refusal) throw refusal
  return new Uint8Array(buffer, 0, length)
}

/** If the check refuses the key, the rest of the body is drained, so that the client reads the refusal. */
async function checked(request: Request, check: (() => Promise<unknown>) | undefined): Promise<void> {
  try {
    await check?.()
  } catch (error) {
    await drain(request)
    throw error
  }
}

async function drain(request: Request): Promise<void> {
  const until = AbortSignal.timeout(drainMs)
  try {
    await request.body?.pipeTo(new WritableStream(), { signal: until })
  } catch {
    // The request is refused in any case.
  }
}

/** Ends a read that exceeds its total time, or that stalls for too long. */
class Deadline {
  readonly #end = Date.now() + budgets.bodyReadMs.value
  #timer: number | null = null

  async within<Value>(read: Promise<Value>): Promise<Value> {
    clearTimeout(this.#timer)
    const { promise: late, reject } = Promise.withResolvers<never>()
    const ms = Math.min(budgets.bodyStallMs.value, Math.max(0, this.#end - Date.now()))
    this.#timer = setTimeout(() => reject(tooSlow()), ms)
    late.catch(() => undefined)
    read.catch(() => undefined)
    return await Promise.race([read, late])
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
}

function refusalOf(fault: JsonFault): GatewayError {
  const { bodyValues, bodyDepth, bodyNameBytes } = budgets
  switch (fault) {
    case 'values':
      return new GatewayError(
        'request_too_large',
        `body: the JSON has more than ${bodyValues.value} values. Send fewer, or send data as one string.`,
      )
    case 'depth':
      return new GatewayError(
        'invalid_value',
        `body: the JSON is nested deeper than ${bodyDepth.value} levels. Flatten it.`,
      )
    case 'key':
      return new GatewayError(
        'invalid_value',
        `body: the name of a field has ${bodyNameBytes.value} bytes or more. Use a shorter name.`,
      )
  }
}

function tooLarge(bytesMax: number): GatewayError {
  return new GatewayError('request_too_large', `body: is larger than ${bytesMax} bytes. Send less in one request.`)
}

function tooLong(bytesMax: number): GatewayError {
  const message = `body: is larger than ${bytesMax} bytes after decompression. Send it uncompressed, or send less.`
  return new GatewayError('request_too_large', message)
}

function tooMuchMemory(bytes: number): GatewayError {
  const [needed, max] = [bytes, budgets.bodyMemoryBytes.value].map((value) => Math.ceil(value / 2 ** 20))
  return new GatewayError(
    'request_too_large',
    `body: needs about ${needed} MiB of memory, more than the limit of ${max} MiB. Send less in one request.`,
  )
}

function crowded(): GatewayError {
  return new GatewayError(
    'server_is_overloaded',
    'body: other large requests use the memory at the moment. Retry after a second, or send less in one request.',
    { retryAfterMs: 1_000 },
  )
}

function notCompressed(encoding: ContentEncoding, cause: unknown): GatewayError {
  const message = `body: is not valid ${encoding}, as content-encoding says. Send it as ${encoding}, or uncompressed.`
  return new GatewayError('invalid_json', message, { cause })
}

function tooDense(): GatewayError {
  const { value: times } = budgets.bodyExpansion
  const message = `body: is more than ${times} times as long after decompression. Send it uncompressed.`
  return new GatewayError('request_too_large', message)
}

function tooSlow(): GatewayError {
  const [stall, total] = [budgets.bodyStallMs.value, budgets.bodyReadMs.value].map((ms) => ms / 1_000)
  return new GatewayError(
    'request_timeout',
    `body: did not arrive in time. Send it within ${total} s, without a pause of ${stall} s.`,
  )
}
