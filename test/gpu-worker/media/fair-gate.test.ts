import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FairGate, type GateBounds } from '../../../gpu-worker/media/fair-gate.ts'

const never = new AbortController().signal
const settle = () => new Promise((resolve) => setImmediate(resolve))

/** Enters the gate, and records the state of the visit. */
function visitor(gate: FairGate, owner: string) {
  const left = new AbortController()
  const visit = { owner, state: 'waits' as 'waits' | 'in' | 'full' | 'gone', left, leave: () => {} }
  gate.enter(owner, left.signal).then(
    (entered) => {
      visit.state = entered.ok ? 'in' : 'full'
      if (entered.ok) visit.leave = entered.leave
    },
    () => {
      visit.state = 'gone'
    },
  )
  return visit
}

describe('a fair gate', () => {
  it('[FGT1] owners enter in turn: an owner with one request does not wait behind another owner’s queue', async () => {
    const gate = new FairGate({ atOnce: 1, perOwner: 1, waiting: 99, waitingPerOwner: 50 })
    const busy = Array.from({ length: 20 }, () => visitor(gate, 'busy'))
    const small = visitor(gate, 'small')
    await settle()
    expect([busy[0]?.state, small.state]).toEqual(['in', 'waits'])
    busy[0]?.leave()
    await settle()
    busy[1]?.leave()
    await settle()
    expect(small.state).toBe('in')
  })

  it('[FGT2] an owner holds no more places than its own limit, so another owner finds one', async () => {
    const gate = new FairGate({ atOnce: 2, perOwner: 1, waiting: 99, waitingPerOwner: 50 })
    const busy = Array.from({ length: 9 }, () => visitor(gate, 'busy'))
    await settle()
    expect(busy.filter(({ state }) => state === 'in').length).toBe(1)
    const other = visitor(gate, 'other')
    await settle()
    expect(other.state).toBe('in')
  })

  it('[FGT3] under any order of enter, leave and abort, the limits hold, no place is lost and no free place stays empty', async () => {
    const event = fc.oneof(
      fc.record({ kind: fc.constant('enter' as const), owner: fc.constantFrom('a', 'b', 'c') }),
      fc.record({ kind: fc.constantFrom('leave' as const, 'abort' as const), index: fc.nat(40) }),
    )
    const bounds: GateBounds = { atOnce: 3, perOwner: 2, waiting: 6, waitingPerOwner: 3 }
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 60 }), async (events) => {
        const gate = new FairGate(bounds)
        const all: ReturnType<typeof visitor>[] = []
        for (const each of events) {
          if (each.kind === 'enter') all.push(visitor(gate, each.owner))
          else {
            const visit = all[each.index % Math.max(1, all.length)]
            if (each.kind === 'leave' && visit?.state === 'in') {
              visit.leave()
              visit.leave()
              visit.state = 'gone'
            } else if (each.kind === 'abort') visit?.left.abort()
          }
          await settle()
          const inside = all.filter(({ state }) => state === 'in')
          const waiting = all.filter(({ state }) => state === 'waits')
          expect([gate.inside, gate.waiting]).toEqual([inside.length, waiting.length])
          expect(inside.length).toBeLessThanOrEqual(bounds.atOnce)
          expect(waiting.length).toBeLessThanOrEqual(bounds.waiting)
          for (const owner of ['a', 'b', 'c']) {
            const own = inside.filter((visit) => visit.owner === owner).length
            const queued = waiting.filter((visit) => visit.owner === owner).length
            expect(own).toBeLessThanOrEqual(bounds.perOwner)
            expect(queued).toBeLessThanOrEqual(bounds.waitingPerOwner)
            if (queued > 0) expect(inside.length === bounds.atOnce || own === bounds.perOwner).toBe(true)
          }
        }
        for (let round = 0; round < all.length; round++) {
          for (const visit of all) {
            if (visit.state === 'in') {
              visit.leave()
              visit.state = 'gone'
            }
          }
          await settle()
        }
        expect([gate.inside, gate.waiting]).toEqual([0, 0])
      }),
      { numRuns: 60 },
    )
  })

  it('[FGT4] an aborted wait ends at once, and a refusal says whose limit was reached', async () => {
    const gate = new FairGate({ atOnce: 1, perOwner: 1, waiting: 2, waitingPerOwner: 1 })
    await gate.enter('a', never)
    const waits = visitor(gate, 'a')
    expect(await gate.enter('a', never)).toEqual({ ok: false, full: 'owner' })
    const other = visitor(gate, 'b')
    expect(await gate.enter('c', never)).toEqual({ ok: false, full: 'all' })
    waits.left.abort(new Error('left'))
    await settle()
    expect([waits.state, other.state, gate.waiting]).toEqual(['gone', 'waits', 1])
    const gone = new AbortController()
    gone.abort(new Error('gone before'))
    await expect(gate.enter('d', gone.signal)).rejects.toThrow('gone before')
  })
})
