/** One signed order to one worker, and what came back. `stop` breaks it off at any time, its answer's body too. */
import type { ZodError } from 'zod'
import {
  type Dispatch,
  dispatchPath,
  dispatchTtlMs,
  promptTokensHeader,
  Refusal,
  warningsHeader,
} from '../../backends/protocol/dispatch.ts'
import { digest, seal } from '../../backends/protocol/seal.ts'
import { keyIdOf } from '../../backends/protocol/worker-key.ts'
import { below } from '../../backends/root.ts'
import { workerSealKey } from '../auth/fleet.ts'
import type { Line } from '../line.ts'
import type { Lease } from '../routing/route.ts'
import { proofOf } from '../settlement/proof.ts'

export type DispatchOrder = Omit<
  Dispatch,
  'dispatchId' | 'workerId' | 'pool' | 'bodyDigest' | 'issuedAt' | 'expiresAt' | 'proof'
>

export type Dispatched =
  /** The engine has begun. The stream is the caller's: cancelling it, or `stop`, stops the engine. */
  | {
      kind: 'accepted'
      body: ReadableStream<Uint8Array>
      contentType: string
      /** The prompt's exact length, as the worker counted it. */
      promptTokens: number | undefined
      /** What its engine does not honour. */
      warnings: string | null
    }
  | { kind: 'refused'; status: number; refusal: Refusal }
  /** Nothing came back. Whether the engine began is not known; if it did, a receipt tells. */
  | { kind: 'unreachable'; cause: unknown }

export async function dispatch(
  line: Line,
  lease: Lease,
  order: DispatchOrder,
  body: Uint8Array<ArrayBuffer>,
  attempt: number,
  now: number,
  stop: AbortSignal,
): Promise<Dispatched> {
  const { workerId, keyEpoch, url } = lease.place
  const dispatchId = dispatchIdOf(line, attempt)
  const named = { ...order, dispatchId, workerId, pool: lease.pool, issuedAt: now }
  const claims: Dispatch = {
    ...named,
    proof: proofOf(line.settings.fleet, named),
    bodyDigest: await digest(body),
    expiresAt: now + dispatchTtlMs,
  }
  const key = await workerSealKey(line.settings.fleet, workerId, keyEpoch)
  const token = await seal('dispatch', claims, keyIdOf({ workerId, epoch: keyEpoch }), key)
  let response: Response
  try {
    response = await fetch(below(url, dispatchPath), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      // A redirect would lead past the address of the worker's enrolment, and take the prompt along.
      redirect: 'manual',
      body,
      signal: stop,
    })
  } catch (cause) {
    return { kind: 'unreachable', cause }
  }
  if (response.ok && response.body) {
    return {
      kind: 'accepted',
      body: response.body,
      contentType: response.headers.get('content-type') ?? 'application/json',
      warnings: response.headers.get(warningsHeader),
      promptTokens: Number(response.headers.get(promptTokensHeader) ?? '') || undefined,
    }
  }
  return { kind: 'refused', status: response.status, refusal: await readRefusal(response) }
}

export function dispatchIdOf({ requestId }: Line, attempt: number): string {
  return `${requestId}.${attempt}`
}

async function readRefusal(response: Response): Promise<Refusal> {
  const parsed = Refusal.safeParse(await response.json().catch((cause: unknown) => ({ cause })))
  return parsed.success ? parsed.data : { code: 'malformed_refusal', message: describe(parsed.error) }
}

function describe(error: ZodError): string {
  return error.issues[0]?.message ?? 'no reason given'
}
