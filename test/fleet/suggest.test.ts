/** Which worker reads a request's media, and that the request then goes to it. */
import { describe, expect, it } from 'vitest'
import { emptyFleet, heartbeat, lease, suggest } from '../../src/fleet/fleet.ts'
import { testAsk, testBeat } from '../support/fleet.ts'

const nobody = () => undefined

function fleet() {
  const pool = emptyFleet()
  for (const id of ['a', 'b', 'c']) heartbeat(pool, testBeat(id, { slotsMax: id === 'a' ? 4 : 2 }), 1, 0)
  return pool
}

const placeOf = (outcome: ReturnType<typeof lease>) =>
  outcome?.kind === 'granted' ? outcome.endpoint.workerId : outcome?.kind

describe('the worker that has a request’s media', () => {
  it('[MRD11] it is taken where it suits, even if another suits better; where it is full or gone, another is', () => {
    const pool = fleet()
    const plain = placeOf(lease(pool, testAsk('r0'), 0, nobody))
    expect(plain).toBe('a')
    const asked = (requestId: string, preferWorkerId: string) =>
      placeOf(lease(pool, testAsk(requestId, { preferWorkerId }), 0, nobody))
    expect([asked('r1', 'c'), asked('r2', 'c')]).toEqual(['c', 'c'])
    expect(asked('r3', 'c')).not.toBe('c')
    expect(['a', 'b']).toContain(asked('r4', 'unknown'))
  })

  it('[MRD12] a suggestion takes no place, and where every place is taken it is the worker that is least full', () => {
    const pool = fleet()
    const ask = testAsk('s', { exclude: ['a'] })
    const first = suggest(pool, ask, 0)?.workerId
    expect(['b', 'c']).toContain(first)
    for (let count = 0; count < 20; count++) expect(suggest(pool, ask, 0)?.workerId).toBe(first)
    expect(pool.leases.size).toBe(0)
    for (let count = 0; count < 8; count++) lease(pool, testAsk(`f${count}`), 0, nobody)
    expect(suggest(pool, testAsk('s'), 0)).toBeDefined()
    expect(suggest(pool, testAsk('s', { exclude: ['a', 'b', 'c'] }), 0)).toBeUndefined()
    expect(suggest(pool, testAsk('s', { model: 'other' }), 0)).toBeUndefined()
  })
})
