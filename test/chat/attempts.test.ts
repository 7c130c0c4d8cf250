import { describe, expect, it } from 'vitest'
import {
  type AttemptEvent,
  type AttemptsState,
  begin,
  countsAgainstRates,
  next,
  type Step,
} from '../../src/chat/attempts.ts'
import { GatewayError } from '../../src/http/errors.ts'

const options = { requestId: 'r', mayUseHosted: false, hasMedia: false, promptTokens: 10, boundNano: 100 }
const on = (workerId: string) => ({ workerId, keyEpoch: 1, protocol: 2, url: 'http://w', pool: 'latency' as const })
const refusal = (code: string, more = {}) => ({ code, message: 'why', ...more })

/** The steps and effects after each of these events. */
function play(events: readonly AttemptEvent[], change: Partial<typeof options> = {}) {
  let state: AttemptsState = begin({ ...options, ...change })
  const steps: Step[] = []
  const effects: string[] = []
  for (const event of events) {
    const result = next(state, event)
    state = result.state
    steps.push(result.step)
    effects.push(result.effects.map(({ kind }) => kind).join())
  }
  return { state, steps, effects, kinds: steps.map(({ kind }) => kind), last: steps.at(-1) }
}

const started: AttemptEvent[] = [{ kind: 'begin' }, { kind: 'leased' }]
const codeOf = (step: Step | undefined) =>
  step?.kind === 'fail' && step.error instanceof GatewayError ? step.error.code : step?.kind

describe('the attempts of a request', () => {
  it('[ATM1] a worker that is lost before the first byte is replaced once, by another worker', () => {
    const lost: AttemptEvent = { kind: 'lost', on: on('a') }
    const { kinds, effects, steps } = play([...started, lost, { kind: 'leased' }, { kind: 'lost', on: on('b') }])
    expect(kinds).toEqual(['lease', 'dispatch', 'lease', 'dispatch', 'fail'])
    expect(effects).toEqual(['', '', 'worker-failed', '', 'worker-failed'])
    expect(steps[2]).toMatchObject({ exclude: ['a'] })
    expect(codeOf(steps[4])).toBe('worker_lost')
  })

  it('[ATM2] a request whose worker falls silent while it prepares it is not sent to another worker', () => {
    const { last, effects } = play([...started, { kind: 'unprepared', on: on('a') }])
    expect([codeOf(last), effects.at(-1)]).toEqual(['preparation_failed', 'worker-failed'])
  })

  it('[ATM3] a fault of the request fails it at once, and only the slot of its worker is released', () => {
    for (const [code, expected] of [
      ['invalid_value', 'invalid_value'],
      ['context_length_exceeded', 'context_length_exceeded'],
      ['internal_error', 'preparation_failed'],
    ] as const) {
      const { last, effects } = play([
        ...started,
        { kind: 'refused', on: on('a'), refusal: refusal(code), stage: 'dispatch' },
      ])
      expect([codeOf(last), effects.at(-1)]).toEqual([expected, 'release-on'])
    }
  })

  it('[WPV2] a request whose worker does not read the dispatch’s protocol version goes to another worker once', () => {
    const unread = (workerId: string): AttemptEvent => ({
      ...{ kind: 'refused', on: on(workerId), stage: 'dispatch' },
      refusal: refusal('protocol_version'),
    })
    const { last, state, effects, steps } = play([...started, unread('a'), { kind: 'leased' }, unread('b')])
    expect(steps[2]).toMatchObject({ kind: 'lease', exclude: ['a'] })
    expect(effects[2]).toBe('release-on,log')
    expect([codeOf(last), state.charged, state.receiptFollows]).toEqual(['server_is_overloaded', false, false])
  })

  it('[ATM4] an exact prompt count above the estimate raises the reservation once, and the request is leased again', () => {
    const over: AttemptEvent = {
      ...{ kind: 'refused', on: on('a'), stage: 'dispatch' },
      refusal: refusal('prompt_over_bound', { promptTokens: 12 }),
    }
    const raised: AttemptEvent = { kind: 'raised', promptTokens: 12, boundNano: 120 }
    const first = play([...started, over, raised])
    expect(first.kinds.slice(2)).toEqual(['reserve-more', 'lease'])
    expect(first.state).toMatchObject({ promptTokens: 12, boundNano: 120, failedOn: [] })
    const { last, state } = play([...started, over, raised, { kind: 'leased' }, over])
    expect([last?.kind, state.failedOn]).toEqual(['lease', ['a']])
  })

  it('[ATM5] workers that lack a capability are passed over without counting as failures', () => {
    const blind = (workerId: string): AttemptEvent => ({
      ...{ kind: 'refused', on: on(workerId), stage: 'dispatch' },
      refusal: workerId === 'a' ? refusal('no_vision') : refusal('invalid_value', { unsupported: true }),
    })
    const { last, state } = play([
      ...started,
      blind('a'),
      { kind: 'leased' },
      blind('b'),
      { kind: 'leased' },
      blind('c'),
    ])
    expect(last).toMatchObject({ kind: 'lease', exclude: ['a', 'b', 'c'] })
    expect(state.failedOn).toEqual([])
    const none: AttemptEvent = { kind: 'not-leased', error: new Error('x'), noWorker: true, uncertain: false }
    expect(codeOf(play([...started, blind('a'), none]).last)).toBe('invalid_value')
  })

  it('[ATM6] media are read before the lease, on a worker that has not failed, and the lease prefers that worker', () => {
    const read: AttemptEvent[] = [{ kind: 'begin' }, { kind: 'media-read', workerId: 'a' }]
    expect(play(read, { hasMedia: true }).steps).toEqual([
      { kind: 'read-media', on: undefined, exclude: [], turn: 1 },
      { kind: 'lease', exclude: [], prefer: 'a' },
    ])
    const blind: AttemptEvent = { kind: 'refused', on: on('a'), refusal: refusal('no_vision'), stage: 'media' }
    expect(play([{ kind: 'begin' }, blind], { hasMedia: true }).last).toMatchObject({ exclude: ['a'], turn: 2 })
    const missing: AttemptEvent = { kind: 'refused', on: on('b'), refusal: refusal('media_missing'), stage: 'dispatch' }
    const again = play([...read, { kind: 'leased' }, missing], { hasMedia: true })
    expect(again.last).toMatchObject({ kind: 'read-media', on: { workerId: 'b' }, turn: 2 })
  })

  it('[ATM7] media that are refused, or read for a client that left, count against the rates', () => {
    const bad: AttemptEvent = { kind: 'refused', on: on('a'), refusal: refusal('invalid_value'), stage: 'media' }
    const refused = play([{ kind: 'begin' }, bad], { hasMedia: true })
    expect(countsAgainstRates(refused.state, false)).toBe(true)
    const lost = play([{ kind: 'begin' }, { kind: 'lost', on: on('a') }], { hasMedia: true })
    const read = play([{ kind: 'begin' }, { kind: 'media-read', workerId: 'a' }], { hasMedia: true })
    expect([countsAgainstRates(read.state, false), countsAgainstRates(read.state, true)]).toEqual([false, true])
    expect(countsAgainstRates(play(started).state, true)).toBe(false)
    expect(lost.last?.kind).toBe('read-media')
  })

  it('[ATM8] the hosted API is the last step: only if no worker has a slot, and never after an answer began', () => {
    const none: AttemptEvent = { kind: 'not-leased', error: new Error('none'), noWorker: true, uncertain: false }
    expect(play([{ kind: 'begin' }, none], { mayUseHosted: true }).last).toEqual({ kind: 'hosted' })
    expect(play([{ kind: 'begin' }, none]).last?.kind).toBe('fail')
    expect(play([{ kind: 'begin' }, { ...none, noWorker: false }], { mayUseHosted: true }).last?.kind).toBe('fail')
    const broke: AttemptEvent[] = [...started, { kind: 'answering' }, { kind: 'stream-lost', on: on('a') }, none]
    expect(codeOf(play(broke, { mayUseHosted: true }).last)).toBe('worker_lost')
  })

  it('[ATM9] a receipt is expected exactly if an engine had the request; otherwise every lease and wait is released', () => {
    const left = (ran: boolean) => play([...started, { kind: 'client-left', ran }])
    expect([left(true).state.receiptFollows, left(false).state.receiptFollows]).toEqual([true, false])
    expect(left(false).effects.at(-1)).toBe('release')
    const error = new GatewayError('invalid_value', 'x')
    expect(play([...started, { kind: 'answer-error', error }]).state.receiptFollows).toBe(true)
    const unsure: AttemptEvent = { kind: 'not-leased', error: new Error('lost'), noWorker: false, uncertain: true }
    expect(play([{ kind: 'begin' }, unsure]).effects.at(-1)).toBe('release')
  })
})
