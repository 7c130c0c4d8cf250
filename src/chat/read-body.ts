/** From a client's bytes to the body for a worker. */
import { budgets } from '../../backends/model/budgets.ts'
import { withSchemaTexts } from '../../backends/model/schema-texts.ts'
import { digest } from '../../backends/wire/seal.ts'
import type { ApiKey } from '../auth/api-key.ts'
import type { ParsedRequest } from '../dialects/dialect.ts'
import { readUsageLabels } from '../dialects/usage-labels.ts'
import { type JsonBody, readJsonBody } from '../http/body.ts'
import { GatewayError } from '../http/errors.ts'
import { isIdempotent } from '../responses/idempotency.ts'
import { previousResponse } from '../responses/previous-response.ts'
import type { KeyCheck } from '../tenant/key-check.ts'
import { noUsageLabels, type UsageLabels } from '../tenant/usage/labels.ts'
import { chatBytes } from './chat-bytes.ts'
import type { RequestContext } from './context.ts'

export interface ChatRequestBody extends JsonBody {
  /** Of the client's bytes; empty unless the request is idempotent. */
  digest: string
}

/** Checks a key that this isolate does not know, and every key of a large or an idempotent request, before it parses. */
export async function readChatBody(
  request: Request,
  context: RequestContext,
  key: ApiKey,
  check: KeyCheck,
): Promise<ChatRequestBody> {
  const idempotent = isIdempotent(request)
  const declared = Number(request.headers.get('content-length') ?? 0)
  if (idempotent) await check.ask()
  // For a large body, `readJsonBody` makes the check before it reads.
  else if (declared <= budgets.bodyLargeBytes.value) await check.askIfUnknown()
  const bytesMax = budgets.bodyBytes.value
  const body = await readJsonBody(request, { bytesMax, tenantId: key.tenantId, beforeLarge: check.ask })
  context.onEnd(() => body.hold?.release())
  return { ...body, digest: idempotent ? await digest(body.bytes) : '' }
}

export interface LabelledRequest extends ParsedRequest {
  labels: UsageLabels
}

/** Drops the value of the body: only the parsed request and the bytes stay in memory. */
export async function parseBody(
  body: JsonBody,
  context: RequestContext,
  key: ApiKey,
  check: KeyCheck,
  tags: string | null,
): Promise<LabelledRequest> {
  const { dialect } = context
  const reference = dialect.refers?.(body.value)
  if (reference) await check.ask()
  const read = dialect.read(body.value, await previousResponse(context, key, reference))
  const labelled = read.ok ? readUsageLabels(body.value, tags) : undefined
  body.value = undefined
  if (!read.ok) throw new GatewayError(read.code, read.message, { param: read.param })
  const { parsed } = read
  const chat = withSchemaTexts(parsed.chat, body.bytes, dialect.schemaPlaces)
  return {
    ...{ ...parsed, chat, labels: labelled?.labels ?? noUsageLabels },
    warnings: [...parsed.warnings, ...(labelled?.warnings ?? [])],
  }
}

/** Workers accept Chat Completions only: its bytes pass unchanged. A body of another dialect is rewritten and dropped. */
export function workerBody({ chat, writer }: ParsedRequest, body: JsonBody): Uint8Array<ArrayBuffer> {
  if (writer) {
    body.bytes = new Uint8Array()
    const { value: bytesMax } = budgets.bodyBytes
    const bytes = chatBytes(chat, bytesMax, `${crypto.randomUUID()}.`, body.hold !== null)
    if (!bytes) {
      const message = `body: the conversation has more than ${bytesMax} bytes as Chat Completions. Send less in one request.`
      throw new GatewayError('request_too_large', message)
    }
    body.bytes = bytes
  }
  body.hold?.resize(body.bytes.byteLength + body.valueBytes)
  return body.bytes
}
