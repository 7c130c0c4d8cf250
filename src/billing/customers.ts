/** The table `billing_customers`: each tenant's customer at the payment provider. */
import type { PaymentProvider } from './payment-provider.ts'

/** The tenant's customer, which is created once. */
export async function customerOf(database: D1Database, provider: PaymentProvider, tenantId: string): Promise<string> {
  const { name, mode } = provider
  const find = database
    .prepare('SELECT customer_id FROM billing_customers WHERE tenant_id = ? AND provider = ? AND mode = ?')
    .bind(tenantId, name, mode)
  const known = await find.first<string>('customer_id')
  if (known !== null) return known
  const created = await provider.createCustomer(tenantId)
  await database
    .prepare(
      'INSERT INTO billing_customers (tenant_id, provider, mode, customer_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
    )
    .bind(tenantId, name, mode, created)
    .run()
  // A concurrent request may have inserted the row.
  return (await find.first<string>('customer_id')) ?? created
}
