/**
 * Settlement: workers deliver their receipts here, several to a call and as often as it takes.
 *
 *   sealed by its worker? ▶ well formed? ▶ proof of its dispatch? ▶ possible counts? ▶ key not revoked? ▶ tenant posts
 *
 * Each receipt is judged by itself. One that fails a step is refused with a reason, recorded for the operator, and no
 * later step sees it. One whose tenant does not answer is neither done nor refused: its worker sends it again.
 */
import { z } from 'zod'
import { cleanText } from '../../backends/model/clean-text.ts'
import { type Receipt, ReceiptNames, type ReceiptsAnswer, ReceiptsCall } from '../../backends/wire/receipt.ts'
import { type RefusedReceipt, recordRefused } from '../admin/refused-receipts.ts'
import { openWorkerWord } from '../auth/fleet.ts'
import type { Env, Settings } from '../env.ts'
import { fleetOf } from '../fleet/client.ts'
import type { RequestEnd } from '../fleet/fleet.ts'
import { GatewayError } from '../http/errors.ts'
import { judgeReceipt } from './verdict.ts'

/** What a worker has sealed. Nothing of it is checked yet but the seal. */
interface Sealed {
  claims: ReceiptNames
  keyEpoch: number
}

/** A receipt that was dispatched and can be true. */
interface JudgedReceipt extends Sealed {
  receipt: Receipt
}

export async function settleReceipts(body: unknown, env: Env, settings: Settings): Promise<ReceiptsAnswer> {
  const call = ReceiptsCall.safeParse(body)
  if (!call.success) throw new GatewayError('invalid_value', z.prettifyError(call.error))
  const sealed = await openAll(call.data.receipts, settings)
  const done: string[] = []
  const refused: RefusedReceipt[] = []
  const refuse = ({ claims }: Sealed, reason: string) => {
    refused.push({ workerId: claims.workerId, dispatchId: claims.dispatchId, reason: cleanText(reason, 300), claims })
  }
  const possible = sealed.flatMap((each) => {
    const verdict = judgeReceipt(each.claims, settings.fleet)
    if (verdict.ok) return [{ ...each, receipt: verdict.receipt }]
    refuse(each, verdict.reason)
    return []
  })
  const good = await believed(possible, env, refuse)
  const groups = [...Map.groupBy(good, ({ receipt }) => receipt.tenantId)]
  await Promise.all(groups.map(([tenantId, group]) => settleTenant(env, tenantId, group, done, refuse)))
  await record(env, refused)
  return { done, refused: refused.map(({ dispatchId, reason }) => ({ dispatchId, reason })) }
}

/** One worker's tokens. Throws where one is not its worker's, or they are of several workers: no honest call is. */
async function openAll(tokens: string[], settings: Settings): Promise<Sealed[]> {
  const word = await openWorkerWord('receipt', tokens, settings.fleet, ReceiptNames)
  if (!word || word.claims.some(({ workerId }) => workerId !== word.workerId))
    throw new GatewayError('permission_denied', 'a receipt is not signed by its worker: enrol the worker again')
  return word.claims.map((claims) => ({ claims, keyEpoch: word.epoch }))
}

/** Frees the slots, and keeps the receipts of those workers whose keys were not revoked. */
async function believed(
  judged: JudgedReceipt[],
  env: Env,
  refuse: (receipt: Sealed, reason: string) => void,
): Promise<JudgedReceipt[]> {
  if (judged.length === 0) return []
  const good = await fleetOf(env).receiptsCame(judged.map(({ receipt, keyEpoch }) => ({ ...endOf(receipt), keyEpoch })))
  return judged.filter((each, index) => {
    if (!good[index]) refuse(each, 'the key of this worker was revoked')
    return good[index]
  })
}

/** A tenant that fails keeps no other tenant's receipts back. */
async function settleTenant(
  env: Env,
  tenantId: string,
  group: JudgedReceipt[],
  done: string[],
  refuse: (receipt: Sealed, reason: string) => void,
): Promise<void> {
  try {
    const answers = await env.TENANT.getByName(tenantId).settle(group.map(({ receipt }) => receipt))
    for (const [index, each] of group.entries()) {
      const answer = answers[index]
      if (answer === 'unknown') refuse(each, 'requestId: the tenant has no such reservation')
      else if (answer === 'impossible') refuse(each, 'the ledger takes no such counts or cost')
      else done.push(each.receipt.dispatchId)
    }
  } catch (error) {
    console.error(`receipts: tenant ${tenantId} did not settle ${group.length}; their worker sends them again`, error)
  }
}

/** The worker keeps what is refused, so nothing is lost where the operator's database is away. */
async function record(env: Env, refused: RefusedReceipt[]): Promise<void> {
  if (refused.length === 0) return
  const [first] = refused
  console.warn(`receipts: refused ${refused.length} of worker ${first?.workerId}, the first because: ${first?.reason}`)
  try {
    await recordRefused(env.DB, refused, Date.now())
  } catch (error) {
    console.error('receipts: the refused ones could not be recorded', error)
  }
}

/** What the fleet learns from it. */
function endOf({
  requestId,
  workerId,
  effort,
  outcome,
  counts,
  firstTokenMs,
  startedAt,
  endedAt,
  estimated,
}: Receipt): RequestEnd {
  const { promptTokens, cachedTokens, outputTokens } = counts
  const finished = outcome === 'finished' && !estimated
  const ms = Math.max(0, endedAt - startedAt)
  return { requestId, workerId, effort, outcome, finished, promptTokens, cachedTokens, outputTokens, firstTokenMs, ms }
}
