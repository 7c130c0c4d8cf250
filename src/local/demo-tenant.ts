/** The demo tenant of `npm start`, with one key. */
import { type State, writeState } from './home.ts'

/** One million dollars, so that the demo tenant does not reach its budget. */
const creditNano = 1_000_000 * 1e9

/** Creates the tenant if the state has no key for it, and stores the new key there. */
export async function ensureDemoTenant(baseUrl: string, state: State, home: string): Promise<void> {
  if (state.apiKey) return
  const { tenantId } = state
  await post(baseUrl, '/admin/tenants', state, { tenant_id: tenantId, name: 'Demo', credit_nano: creditNano })
  const created = await post(baseUrl, `/admin/tenants/${tenantId}/keys`, state, { name: 'demo key', mode: 'test' })
  state.apiKey = String((created as { api_key: unknown }).api_key)
  writeState(home, state)
}

async function post(baseUrl: string, path: string, state: State, body: unknown): Promise<unknown> {
  const response = await fetch(new URL(path, baseUrl), {
    method: 'POST',
    headers: { authorization: `Bearer ${state.operatorKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const answer: unknown = await response.json()
  const exists = response.status === 409 && path === '/admin/tenants'
  if (!response.ok && !exists) throw new Error(`cannot create the demo tenant: ${JSON.stringify(answer)}`)
  return answer
}
