/** Posts what a payment event means to the tenant's ledger, once per payment. */
import { GatewayError } from '../http/errors.ts'
import { accept, type TenantBinding, tenantStub } from '../tenant/stub.ts'
import type { PaymentEvent, PaymentProvider } from './payment-provider.ts'

const nanoPerCent = 10_000_000

interface PostedPayment {
  outcome: 'credited' | 'reversed' | 'repeated' | 'ignored'
  reason: string | null
}

/**
 * Both events of a payment that succeeded post under the id of the payment. A refused entry is an error, so that the
 * provider shows the event as failed and sends it again.
 */
export async function postPayment(
  env: TenantBinding,
  { name }: Pick<PaymentProvider, 'name'>,
  event: PaymentEvent,
): Promise<PostedPayment> {
  if (event.kind === 'ignored') return { outcome: 'ignored', reason: event.reason }
  const tenant = tenantStub(env, event.tenantId)
  const creditId = `${name}:${event.paymentId}`
  if (event.kind === 'paid') {
    const amountNano = event.amountCents * nanoPerCent
    const none = { requestId: null, creditId: null }
    const note = `Paid with ${name}: ${event.paymentId}`
    const { repeated } = accept(
      await tenant.postMoney({ orderId: creditId, kind: 'credit', amountNano, note, ...none }),
    )
    return { outcome: repeated ? 'repeated' : 'credited', reason: null }
  }
  const { sourceId, why, totalCents } = event
  const returned = { creditId, sourceId: `${name}:${sourceId}`, totalNano: totalCents * nanoPerCent }
  const { reversedNano, dueNano } = accept(await tenant.returnCredit({ ...returned, note: `${why}: ${sourceId}` }))
  if (dueNano > 0) {
    const message = `${dueNano} nano-dollars of the returned payment are spent or reserved. The rest is reversed when the event is sent again.`
    throw new GatewayError('conflict', message)
  }
  return { outcome: reversedNano > 0 ? 'reversed' : 'repeated', reason: null }
}
