/** Stored responses in workerd: real SQLite, real eviction, the real alarm. */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'

const kept = (id: string) => ({ responseId: id, previousId: undefined, input: [], output: [{ id: 'm' }], body: { id } })

describe('the object of stored responses', () => {
  it('[ASW6] stored responses survive the eviction of their object, and the alarm removes expired ones', async () => {
    const stub = env.RESPONSES.getByName('evicted')
    expect(await stub.keep(kept('resp_expired'), Date.now() - 1)).toBe(true)
    expect(await stub.keep(kept('resp_kept'), Date.now() + 60_000)).toBe(true)
    expect(await stub.begin('replay_a', 'digest', 'attempt')).toEqual({ kind: 'run' })
    await stub.finish('replay_a', 'attempt', [['a', 'b']], 'text', Date.now() + 60_000)
    await evictDurableObject(stub)
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
})
