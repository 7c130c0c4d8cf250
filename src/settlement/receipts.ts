/**
 * Settlement: workers deliver their receipts here, several per call, and retry until each one is acknowledged.
 *
 *   sealed by its worker? ▶ well formed? ▶ proof of its dispatch? ▶ possible counts? ▶ key not revoked? ▶ tenant posts
 *
 * Each receipt is judged separately. If it fails a step, it is refused with a reason, recorded for the operator, and no
 * later step sees it. If its tenant object does not answer, it is neither done nor refused, and its worker resends it.
 */

import { cleanText } from '../../backends/model/clean-text.ts'
import { faultText, readFields } from '../../backends/model/field-fault.ts'
import { unspokenText } from '../../backends/wire/protocol.ts'
import { type Receipt, ReceiptNames, type ReceiptsAnswer, ReceiptsCall } from '../../backends/wire/receipt.ts'
import { openWorkerWord } from '../auth/worker-key.ts'
import type { Settings } from '../config.ts'
import { type AlertSinkBinding, alertSink } from '../fleet/alert-sink.ts'
import { type FleetBinding, fleetOf } from '../fleet/client.ts'
import type { RequestEnd } from '../fleet/state.ts'
import { GatewayError } from '../http/errors.ts'
import { alertId } from '../tenant/alerts/alert.ts'
import type { TenantBinding } from '../tenant/stub.ts'
import { type RefusedReceipt, recordRefused } from './refused-receipts.ts'
import { judgeReceipt } from './verdict.ts'

interface SettlementEnv extends FleetBinding, TenantBinding, AlertSinkBinding {
  DB: D1Database
}

/** Claims sealed by a worker. Only the seal is verified yet. */
interface Sealed {
  claims: ReceiptNames
  keyEpoch: number
}

/** A receipt that belongs to a dispatch and is possible. */
interface JudgedReceipt extends Sealed {
  receipt: Receipt
}

export async function settleReceipts(body: unknown, env: SettlementEnv, settings: Settings): Promise<ReceiptsAnswer> {
  const call = readFields(ReceiptsCall, body)
  if (!call.ok) throw new GatewayError('invalid_value', faultText(call.fault), { param: call.fault.field })
  const sealed = await openAll(call.data.receipts, settings)
  const done: string[] = []
  const refused: RefusedReceipt[] = []
  const refuse = ({ claims }: Sealed, reason: string) => {
    refused.push({ workerId: claims.workerId, dispatchId: claims.dispatchId, reason: cleanText(reason, 300), claims })
  }
  const possible = sealed.flatMap((each) => {
    const verdict = judgeReceipt(each.claims, settings.fleetSecrets)
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

/** Opens the tokens of one worker. Throws if a token is from another worker, which no honest call contains. */
async function openAll(tokens: string[], settings: Settings): Promise<Sealed[]> {
  const word = await openWorkerWord('receipt', tokens, settings.fleetSecrets, ReceiptNames)
  // The worker keeps its receipts and sends them again.
  if (word?.kind === 'unspoken')
    throw new GatewayError('permission_denied', unspokenText(`worker ${word.workerId}`, word.version, 'this edge'))
  if (!word || word.claims.some(({ workerId }) => workerId !== word.workerId))
    throw new GatewayError('permission_denied', 'A receipt is not signed by its worker. Enrol the worker again.')
  return word.claims.map((claims) => ({ claims, keyEpoch: word.epoch }))
}

/** Frees the slots, and returns the receipts whose worker key was not revoked. */
async function believed(
  judged: JudgedReceipt[],
  env: SettlementEnv,
  refuse: (receipt: Sealed, reason: string) => void,
): Promise<JudgedReceipt[]> {
  if (judged.length === 0) return []
  const good = await fleetOf(env).receiptsCame(judged.map(({ receipt, keyEpoch }) => ({ ...endOf(receipt), keyEpoch })))
  return judged.filter((each, index) => {
    if (!good[index]) refuse(each, 'the key of the worker was revoked')
    return good[index]
  })
}

/** A failing tenant does not delay the receipts of other tenants. */
async function settleTenant(
  env: SettlementEnv,
  tenantId: string,
  group: JudgedReceipt[],
  done: string[],
  refuse: (receipt: Sealed, reason: string) => void,
): Promise<void> {
  try {
    const answers = await env.TENANT.getByName(tenantId).settle(group.map(({ receipt }) => receipt))
    for (const [index, each] of group.entries()) {
      const answer = answers[index]
      if (answer === 'unknown') refuse(each, 'requestId: the tenant has no reservation with this id')
      else if (answer === 'impossible') refuse(each, 'the ledger refuses the counts or the cost as impossible')
      else done.push(each.receipt.dispatchId)
    }
  } catch (error) {
    console.error(
      `receipts: tenant ${tenantId} did not settle ${group.length} receipts. The worker will resend them.`,
      error,
    )
  }
}

/** Workers keep refused receipts, so nothing is lost while the operator's database is unavailable. */
async function record(env: SettlementEnv, refused: RefusedReceipt[]): Promise<void> {
  if (refused.length === 0) return
  const [first] = refused
  console.warn(`receipts: refused ${refused.length} of worker ${first?.workerId}. First reason: ${first?.reason}`)
  try {
    await recordRefused(env.DB, refused, Date.now())
  } catch (error) {
    console.error('receipts: could not record the refused receipts', error)
  }
  await alertRefused(env, refused, Date.now())
}

/** Alerts operators at most once an hour for each worker: a dishonest one may send any number of receipts. */
async function alertRefused(env: SettlementEnv, refused: RefusedReceipt[], now: number): Promise<void> {
  const [first] = refused
  if (!first) return
  const { workerId, reason } = first
  const data = { workerId, receipts: refused.length, reason }
  const id = alertId('refused', workerId, now - (now % hourMs))
  try {
    await alertSink(env).raise([{ id, type: 'receipts.refused', at: now, data }])
  } catch (error) {
    console.warn('receipts: the operators were not alerted of the refused receipts', error)
  }
}

const hourMs = 3_600_000

/** The fields of a receipt that the fleet uses. */
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
