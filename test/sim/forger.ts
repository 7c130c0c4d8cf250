/** A worker with a valid key that lies: it changes its receipts, or sends those of other workers as its own. */
import type { Receipt } from '../../backends/wire/receipt.ts'
import type { Random } from './random.ts'

/** A receipt that no honest worker sends; undefined if this change would leave it true. */
export function forge(receipt: Receipt, workerId: string, random: Random): Receipt | undefined {
  const { counts, terms } = receipt
  switch (random.int(0, 8)) {
    case 0:
      return { ...receipt, counts: { ...counts, outputTokens: terms.outputTokensMax + 1 } }
    case 1:
      return { ...receipt, costNano: receipt.costNano + 1 }
    case 2:
      return { ...receipt, terms: { ...terms, costNanoMax: terms.costNanoMax * 2 }, costNano: terms.costNanoMax * 2 }
    case 3:
      return { ...receipt, dispatchId: `${receipt.requestId}.7` }
    case 4:
      return { ...receipt, dispatchId: `${receipt.requestId}.0` }
    case 5:
      return { ...receipt, tenantId: `${receipt.tenantId}x` }
    case 6:
      return { ...receipt, counts: { ...counts, cachedTokens: counts.promptTokens + 1 } }
    case 7:
      return { ...receipt, terms: { ...terms, rates: { ...terms.rates, outputNano: terms.rates.outputNano + 1 } } }
    default:
      // The receipt of another worker.
      return receipt.workerId === workerId ? undefined : { ...receipt, workerId }
  }
}
