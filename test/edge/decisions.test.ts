/** Placement decisions on the disk of the real fleet object. */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { DecisionBook } from '../../src/fleet/decisions/decision-log.ts'
import type { Decision } from '../../src/fleet/decisions/decisions.ts'
import { testAsk, testBeat, testEnrolment } from '../support/fleet.ts'
import { evict } from './evict.ts'

const id = (index: number) => `req_${index.toString(16).padStart(12, '0')}`

const decision = (index: number, change: Partial<Decision> = {}): Decision => ({
  ...{
    requestId: id(index),
    tenantId: 't',
    model: 'm',
    effort: 'none',
    preferredPool: 'latency',
    priorityClass: 'interactive',
  },
  ...{ weight: 100, cameAt: index, promptTokens: 10, expectedOutputTokens: 20, attempts: [], outcome: 'finished' },
  ...{ engine: null, ...change },
})

describe('decisions', () => {
  it('[DCB1] a finished decision is on disk seconds later, with its worker’s report, and survives an eviction', async () => {
    const fleet = () => env.FLEET.getByName('explained')
    const [done, open] = [id(1), id(2)]
    await fleet().enrol(testEnrolment('w'), undefined)
    await fleet().heartbeat(testBeat('w', { sentAt: Date.now() }), 1)
    for (const requestId of [done, open])
      expect(await fleet().lease(testAsk(requestId))).toMatchObject({ kind: 'granted' })
    const end = {
      requestId: done,
      workerId: 'w',
      effort: 'none',
      outcome: 'finished',
      finished: true,
      keyEpoch: 1,
    } as const
    const counts = { promptTokens: 90, cachedTokens: 0, outputTokens: 30, firstTokenMs: 12, ms: 200 }
    await fleet().release([done])
    await fleet().receiptsCame([{ ...end, ...counts }])
    expect(await fleet().decision(done)).toMatchObject({ outcome: 'finished', engine: counts })
    await scheduler.wait(4_500)
    await evict(fleet())
    expect(await fleet().decision(done)).toMatchObject({
      outcome: 'finished',
      attempts: [{ workerId: 'w', why: expect.any(String) }],
      engine: counts,
    })
    // An open decision is only in memory, so the eviction drops it.
    expect(await fleet().decision(open)).toBeUndefined()
  })

  it('[DCB2] the book finds one of many decisions by its id, newest version first, and drops the oldest at its limit', async () => {
    await runInDurableObject(env.FLEET.getByName('book'), (_, { storage }) => {
      const book = new DecisionBook(storage.sql)
      for (let from = 0; from < 50_000; from += 1_000) {
        book.add(Array.from({ length: 1_000 }, (_, index) => decision(from + index)))
      }
      expect(book.find(id(0))).toEqual(decision(0))
      expect(book.find(id(49_999))).toEqual(decision(49_999))
      expect(book.find(id(50_000))).toBeUndefined()
      book.add([decision(700, { outcome: 'failed' }), decision(50_000)])
      expect(book.find(id(700))?.outcome).toBe('failed')
      expect(book.find(id(0))).toBeUndefined()
      expect(book.find(id(500))).toEqual(decision(500))
      // Another instance on the same rows counts them.
      const again = new DecisionBook(storage.sql)
      again.add(Array.from({ length: 500 }, (_, index) => decision(60_000 + index)))
      expect(again.find(id(999))).toBeUndefined()
      expect(again.find(id(1_000))).toEqual(decision(1_000))
    })
  })
})
