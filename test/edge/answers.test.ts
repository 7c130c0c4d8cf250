/** Stored responses in workerd: real SQLite, real eviction, the real alarm. */
import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { openKey, openTenant, send } from './client.ts'
import { evict } from './evict.ts'

const kept = (id: string) => ({ responseId: id, previousId: undefined, input: [], output: [{ id: 'm' }], body: { id } })

describe('the object of stored responses', () => {
  it('[ASW6] stored responses survive the eviction of their object, and the alarm removes expired ones', async () => {
    const stub = env.RESPONSES.getByName('evicted')
    expect(await stub.keep(kept('resp_expired'), Date.now() - 1)).toBe(true)
    expect(await stub.keep(kept('resp_kept'), Date.now() + 60_000)).toBe(true)
    expect(await stub.begin('replay_a', 'digest', 'attempt')).toEqual({ kind: 'run' })
    await stub.finish('replay_a', 'attempt', [['a', 'b']], 'text', Date.now() + 60_000)
    await evict(stub)
    expect(await stub.body('resp_expired')).toBeUndefined()
    expect(await stub.body('resp_kept')).toBe('{"id":"resp_kept"}')
    const again = { kind: 'answer', headers: [['a', 'b']], text: 'text' }
    expect(await stub.begin('replay_a', 'digest', 'another')).toEqual(again)
    await runDurableObjectAlarm(stub)
    const ids = await runInDurableObject(stub, (_, state) =>
      state.storage.sql.exec('SELECT DISTINCT id FROM pieces ORDER BY id').toArray(),
    )
    expect(ids).toEqual([{ id: 'replay_a' }, { id: 'resp_kept' }])
    expect(await runInDurableObject(stub, (_, state) => state.storage.getAlarm())).toBeGreaterThan(Date.now())
  })

  it('[ASW7] every listed input item has an id and a type, also where the client sent none or one of another kind', async () => {
    await openTenant('lister')
    const { apiKey } = await openKey('lister')
    const responseId = `resp_${'b'.repeat(32)}`
    const said = { role: 'user', content: 'hello' }
    const input = [
      { ...said, id: null, type: null },
      { ...said, id: 5, type: 'message' },
      said,
      { id: 'own', type: 'item_x' },
    ]
    await env.RESPONSES.getByName('lister').keep(
      { responseId, previousId: undefined, input, output: [], body: {} },
      Date.now() + 60_000,
    )
    const { body } = await send('GET', `/v1/responses/${responseId}/input_items?order=asc`, undefined, apiKey)
    const id = (place: number) => `item_${'b'.repeat(32)}000${place}`
    expect(body.data).toEqual([
      { ...said, id: id(0), type: 'message' },
      { ...said, id: id(1), type: 'message' },
      { ...said, id: id(2), type: 'message' },
      { id: 'own', type: 'item_x' },
    ])
    expect(body).toMatchObject({ first_id: id(0), last_id: 'own', has_more: false })
  })
})
