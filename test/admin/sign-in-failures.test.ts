import { describe, expect, it } from 'vitest'
import { addressesMax, failuresPerMinuteMax, SignInFailures } from '../../src/admin/sign-in-failures.ts'

const hourMs = 3_600_000

describe('failed sign-ins', () => {
  it('[ADN47] any number of failures and addresses takes a bounded number of rows, and none is lost', () => {
    const failures = new SignInFailures()
    const sent = 5_000
    for (let index = 0; index < sent; index++) failures.count(`192.0.2.${index}`, hourMs + index)
    const rows = failures.take(hourMs + sent)
    expect(rows.length).toBe(addressesMax + 1)
    expect(rows.reduce((sum, { times }) => sum + times, 0)).toBe(sent)
    expect(rows.find(({ address }) => address === null)?.times).toBe(sent - addressesMax)
    expect(failures.take(hourMs + sent)).toEqual([])
    // Addresses beyond the limit get a row of their own in the next hour.
    failures.count('192.0.2.4999', 2 * hourMs)
    expect(failures.take(2 * hourMs)).toEqual([{ hour: 2 * hourMs, address: '192.0.2.4999', times: 1 }])
  })

  it('[ADN47] an address fails too often within a minute, not over several minutes, and only the first asks for a write', () => {
    const failures = new SignInFailures()
    const fail = (now: number, address: string | null = 'a') => failures.count(address, now)
    const first = Array.from({ length: failuresPerMinuteMax }, (_, index) => fail(hourMs + index))
    expect(first.map(({ tooMany }) => tooMany)).not.toContain(true)
    expect(first.map((each) => each.first).indexOf(true)).toBe(0)
    expect(first.filter((each) => each.first)).toHaveLength(1)
    expect(fail(hourMs + 100).tooMany).toBe(true)
    expect(fail(hourMs + 100, 'b').tooMany).toBe(false)
    const unknown = Array.from({ length: 2 * failuresPerMinuteMax }, () => fail(hourMs + 100, null).tooMany)
    expect(unknown).not.toContain(true)
    expect(fail(hourMs + 60_000).tooMany).toBe(false)
    failures.take(hourMs + 60_001)
    expect(fail(hourMs + 60_002).first).toBe(true)
  })
})
