import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { WorkTimer } from '../../../gpu-worker/media/work-timer.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('the time budget of a request’s media', () => {
  it('[MRD8] time passes once while any work runs, and stops while all of it waits', () => {
    const timer = new WorkTimer(1_000, () => Date.now())
    timer.begin()
    timer.begin()
    vi.advanceTimersByTime(400)
    timer.end()
    vi.advanceTimersByTime(200)
    timer.end()
    vi.advanceTimersByTime(60_000)
    expect(timer.signal.aborted).toBe(false)
    timer.begin()
    vi.advanceTimersByTime(399)
    expect(timer.signal.aborted).toBe(false)
    vi.advanceTimersByTime(1)
    expect(timer.signal.aborted).toBe(true)
  })
})
