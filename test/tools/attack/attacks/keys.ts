/** Revoked keys, and keys on routes that they are not allowed to use. */
import { type Attack, inTurn } from '../attack.ts'
import { type Answer, addKey, type World } from '../world.ts'

async function revoked(world: World): Promise<string> {
  const key = await addKey(world.product, world.attacker.tenantId)
  await world.product.admin('DELETE', `/admin/tenants/${world.attacker.tenantId}/keys/${key.split('_')[3]}`)
  return key
}

const routes: readonly [string, string, unknown?][] = [
  ['GET', '/v1/models'],
  ['GET', '/mistral/v1/models'],
  ['GET', '/v1/models/tramontane-tiny'],
  ['GET', '/v1/usage'],
  ['GET', '/v1/limits'],
  ['GET', '/v1/keys'],
  ['GET', '/v1/responses/resp_0'],
  ['DELETE', '/v1/responses/resp_0'],
  ['GET', '/v1/responses/resp_0/input_items'],
  ['POST', '/v1/chat/completions', { model: 'tramontane-tiny', messages: [{ role: 'user', content: 'hi' }] }],
  ['POST', '/v1/responses', { model: 'tramontane-tiny', input: 'hi', previous_response_id: 'resp_0' }],
  ['POST', '/v1/responses/input_tokens', { model: 'tramontane-tiny', input: 'hi' }],
  ['POST', '/v1/messages', { model: 'tramontane-tiny', max_tokens: 4, messages: [{ role: 'user', content: 'hi' }] }],
  ['POST', '/v1/messages/count_tokens', { model: 'tramontane-tiny', messages: [{ role: 'user', content: 'hi' }] }],
  ['POST', '/mistral/v1/chat/completions', { model: 'tramontane-tiny', messages: [{ role: 'user', content: 'hi' }] }],
]

export const keyAttacks: readonly Attack[] = [
  {
    name: 'revoked-key-everywhere',
    quick: true,
    run: async (world) => {
      const key = await revoked(world)
      return inTurn(routes.length, (index) => {
        const [method = '', path = '', body] = routes[index] ?? []
        return world.send(path, body, { method, key })
      })
    },
    expect: [401],
  },
  {
    name: 'replay-of-another-key',
    quick: true,
    run: async (world) => {
      const { tenantId } = world.attacker
      const headers = { 'idempotency-key': `shared-${Date.now()}` }
      const first = await world.chat({}, { headers })
      const others = [
        await addKey(world.product, tenantId, { models: ['mistral-small-4'] }),
        await addKey(world.product, tenantId, { limits: { budgetNano: { total: 0 } } }),
        await addKey(world.product, tenantId, { role: 'viewer' }),
      ]
      return [first, ...(await Promise.all(others.map((key) => world.chat({}, { headers, key }))))]
    },
    expect: (answers: readonly Answer[]) => {
      const leaked = answers.slice(1).find(({ status }) => status === 200)
      return leaked && 'a key without permission got another key’s stored answer'
    },
  },
  {
    name: 'query-strings',
    run: async (world) => {
      const key = world.product.demo().operatorKey
      const paths = [
        '/admin/requests/x?tenantId=',
        `/admin/requests/x?tenantId=${'a'.repeat(100)}`,
        '/admin/tenants/%E0%A4%A',
        '/admin/tenants?limit=1e9',
        '/admin/workers?after=%00',
      ]
      return Promise.all(paths.map((path) => world.send(path, null, { method: 'GET', key })))
    },
    expect: (answers) => {
      const wrong = answers.find(({ status }) => status >= 500)
      return wrong && `${wrong.status} ${wrong.text.slice(0, 100)}`
    },
  },
]
