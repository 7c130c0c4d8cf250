/** Answers the edge's question how long a prompt is. Only this worker's edge may ask, and few at once. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { readChat } from '../backends/protocol/chat.ts'
import { type CountAnswer, CountQuestion, countsMax } from '../backends/protocol/count.ts'
import { clockSkewMs, type Refusal } from '../backends/protocol/dispatch.ts'
import { digest, unseal } from '../backends/protocol/seal.ts'
import type { Engine } from './engine/engine.ts'

export interface CountParts {
  workerId: string
  key: CryptoKey
  engine: Engine
  now: () => number
}

let counting = 0

/** What it answers, or why not. Rejects with EngineFailure when the engine is down. */
export async function count(
  parts: CountParts,
  request: IncomingMessage,
  body: Uint8Array<ArrayBuffer>,
): Promise<({ ok: true } & CountAnswer) | ({ ok: false } & Refusal)> {
  const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
  const question = await unseal('count', token, parts.key, CountQuestion)
  const ours =
    question?.workerId === parts.workerId &&
    parts.now() <= question.expiresAt + clockSkewMs &&
    (await digest(body)) === question.bodyDigest
  if (!question || !ours)
    return { ok: false, code: 'bad_dispatch', message: 'the question is not signed with this worker’s key, or is old' }
  if (counting >= countsMax) return { ok: false, code: 'busy', message: `${countsMax} prompts are being counted` }
  counting += 1
  try {
    const read = readChat(JSON.parse(new TextDecoder().decode(body)))
    if (!read.ok) return read
    const prepared = await parts.engine.prepare(read.chat, question.effort)
    if (prepared.ok)
      return { ok: true, promptTokens: prepared.promptTokens, estimated: prepared.promptEstimated ?? false }
    // A prompt that is too long has been counted all the same.
    const { promptTokens } = prepared
    return promptTokens === undefined ? prepared : { ok: true, promptTokens, estimated: false }
  } finally {
    counting -= 1
  }
}

export function answerCount(response: ServerResponse, { promptTokens, estimated }: CountAnswer): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ promptTokens, estimated } satisfies CountAnswer))
}
