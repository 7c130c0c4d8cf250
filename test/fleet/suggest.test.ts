/** The choice of the worker that reads a request's media, and the lease on that worker. */
import { describe, expect, it } from 'vitest'
import { suggest } from '../../src/fleet/choose.ts'
import { lease } from '../../src/fleet/fleet.ts'
import { heartbeat } from '../../src/fleet/registry.ts'
import { emptyFleet } from '../../src/fleet/state.ts'
import { testAsk, testBeat } from '../support/fleet.ts'

const ignore = () => undefined

function fleet() {
  const pool = emptyFleet()
  for (const id of ['a', 'b', 'c']) heartbeat(pool, testBeat(id, { slotsMax: id === 'a' ? 4 : 2 }), 1, 0)
  return pool
}

const placeOf = (outcome: ReturnType<typeof lease>) =>
  outcome?.kind === 'granted' ? outcome.endpoint.workerId : outcome?.kind

describe('the worker that read a request’s media', () => {
  it('[MRD11] gets the request if it is suitable, and another worker gets it if that one is full or gone', () => {
    const pool = fleet()
    const plain = placeOf(lease(pool, testAsk('r0'), 0, ignore))
    expect(plain).toBe('a')
    const placed = (requestId: string, preferWorkerId: string) =>
      placeOf(lease(pool, testAsk(requestId, { preferWorkerId }), 0, ignore))
    expect([placed('r1', 'c'), placed('r2', 'c')]).toEqual(['c', 'c'])
    expect(placed('r3', 'c')).not.toBe('c')
    expect(['a', 'b']).toContain(placed('r4', 'unknown'))
  })

  it('[MRD12] a suggestion leases no slot, and names a worker even when every slot is taken', () => {
    const pool = fleet()
    const ask = testAsk('s', { exclude: ['a'] })
    const first = suggest(pool, ask, 0)?.workerId
    expect(['b', 'c']).toContain(first)
    for (let count = 0; count < 20; count++) expect(suggest(pool, ask, 0)?.workerId).toBe(first)
    expect(pool.leases.size).toBe(0)
    for (let count = 0; count < 8; count++) lease(pool, testAsk(`f${count}`), 0, ignore)
    expect(suggest(pool, testAsk('s'), 0)).toBeDefined()
    expect(suggest(pool, testAsk('s', { exclude: ['a', 'b', 'c'] }), 0)).toBeUndefined()
    expect(suggest(pool, testAsk('s', { model: 'other' }), 0)).toBeUndefined()
  })
})
