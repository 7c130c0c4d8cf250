/**
 * Settlement: workers deliver their receipts here, several to a call and as often as it takes. Each is checked by its
 * worker's key, posted by its tenant, and gives its slot back to its pool.
 */
import { z } from 'zod'
import { Receipt, type ReceiptsAnswer, ReceiptsCall } from '../../backends/protocol/receipt.ts'
import { openWorkerWord } from '../auth/fleet.ts'
import type { Env, Settings } from '../env.ts'
import { GatewayError } from '../errors.ts'
import { fleetOf } from '../routing/fleet.ts'
import type { End } from '../routing/pool.ts'

export async function settleReceipts(body: unknown, env: Env, settings: Settings): Promise<ReceiptsAnswer> {
  const call = ReceiptsCall.safeParse(body)
  if (!call.success) throw new GatewayError('invalid_value', z.prettifyError(call.error))
  // A worker delivers its own receipts, all with its newest key.
  const word = await openWorkerWord('receipt', call.data.receipts, settings.fleet, Receipt)
  const signed = (word?.claims ?? []).map((receipt) => ({ receipt, keyEpoch: word?.epoch ?? 0 }))
  const answer: ReceiptsAnswer = { done: [], refused: [] }
  if (!word || signed.some(({ receipt }) => receipt.workerId !== word.workerId))
    throw new GatewayError('permission_denied', 'a receipt is not signed by its worker: enrol the worker again')
  const good = await believed(signed, env, answer)
  await Promise.all(
    groups(good, (receipt) => receipt.tenantId).map(async ([tenantId, group]) => {
      const answers = await env.TENANT.getByName(tenantId).settle(group)
      group.forEach((receipt, index) => {
        if (answers[index] === 'unknown')
          answer.refused.push({ dispatchId: receipt.dispatchId, reason: 'no such reservation' })
        else answer.done.push(receipt.dispatchId)
      })
    }),
  )
  return answer
}

interface Signed {
  receipt: Receipt
  keyEpoch: number
}

/** Gives the slots back, and keeps the receipts of those workers whose keys were not revoked. */
async function believed(signed: Signed[], env: Env, answer: ReceiptsAnswer): Promise<Receipt[]> {
  const good = await fleetOf(env).receiptsCame(signed.map(({ receipt, keyEpoch }) => ({ ...endOf(receipt), keyEpoch })))
  for (const [index, { receipt }] of signed.entries()) {
    if (good[index]) continue
    answer.refused.push({ dispatchId: receipt.dispatchId, reason: 'the key of this worker was revoked' })
  }
  return signed.filter((_, index) => good[index]).map(({ receipt }) => receipt)
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
}: Receipt): End {
  const { promptTokens, cachedTokens, outputTokens } = counts
  const finished = outcome === 'finished' && !estimated
  const ms = endedAt - startedAt
  return { requestId, workerId, effort, outcome, finished, promptTokens, cachedTokens, outputTokens, firstTokenMs, ms }
}

function groups<Item>(items: Item[], keyOf: (item: Item) => string): [string, Item[]][] {
  return [...Map.groupBy(items, keyOf)]
}
