/**
 * Settlement: workers deliver their receipts here, several to a call and as often as it takes. Each is checked by its
 * worker's key, posted by its tenant, and gives its slot back to its pool.
 */
import { z } from 'zod'
import { Receipt, type ReceiptsAnswer, ReceiptsCall } from '../../backends/protocol/receipt.ts'
import { sealedBy, unseal } from '../../backends/protocol/seal.ts'
import { parseKeyId } from '../../backends/protocol/worker-key.ts'
import { workerSealKey } from '../auth/fleet.ts'
import type { Env, Settings } from '../env.ts'
import { GatewayError } from '../errors.ts'

export async function settleReceipts(body: unknown, env: Env, settings: Settings): Promise<ReceiptsAnswer> {
  const call = ReceiptsCall.safeParse(body)
  if (!call.success) throw new GatewayError('invalid_value', z.prettifyError(call.error))
  const receipts = await Promise.all(call.data.receipts.map((token) => openReceipt(token, settings)))
  const good = receipts.filter((receipt) => receipt !== undefined)
  const answer: ReceiptsAnswer = { done: [], refused: [] }
  if (good.length < receipts.length)
    throw new GatewayError('permission_denied', 'a receipt is not signed by its worker: enrol the worker again')
  await Promise.all([
    ...groups(good, (receipt) => receipt.tenantId).map(async ([tenantId, group]) => {
      const answers = await env.TENANT.getByName(tenantId).settle(group)
      group.forEach((receipt, index) => {
        if (answers[index] === 'unknown')
          answer.refused.push({ dispatchId: receipt.dispatchId, reason: 'no such reservation' })
        else answer.done.push(receipt.dispatchId)
      })
    }),
    ...groups(good, (receipt) => receipt.pool).map(([pool, group]) =>
      env.POOL.getByName(pool).release(group.map((receipt) => receipt.requestId)),
    ),
  ])
  return answer
}

async function openReceipt(token: string, settings: Settings): Promise<Receipt | undefined> {
  const by = parseKeyId(sealedBy(token) ?? '')
  if (!by) return undefined
  const key = await workerSealKey(settings.fleet, by.workerId, by.epoch)
  const receipt = await unseal('receipt', token, key, Receipt)
  return receipt?.workerId === by.workerId ? receipt : undefined
}

function groups<Item>(items: Item[], keyOf: (item: Item) => string): [string, Item[]][] {
  return [...Map.groupBy(items, keyOf)]
}
