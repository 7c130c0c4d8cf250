import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type CalendarUnit,
  hourEnd,
  isTimeZone,
  periodAt,
  windowEnd,
  windowStart,
} from '../../../src/tenant/limits/calendar.ts'
import { noLimits } from '../../../src/tenant/limits/limits.ts'
import { changeTenant } from '../../../src/tenant/settings.ts'
import { openBooks, testOrder, testReceipt } from '../../support/tenant.ts'

/** Bound of a test request; a test receipt costs 600. */
const bound = 1_000
const day = 86_400_000
const dayBudget = (nano: number) => ({ ...noLimits, budgetNano: { total: null, day: nano, month: null } })

describe('budgets and the calendar', () => {
  it('[BKS22] after a clock that ran backwards over midnight, a request counts against the later day', () => {
    const test = openBooks({ creditNano: 100_000, limits: dayBudget(2_500) })
    test.transaction((books) => books.admit(testOrder('a'), day + 5))
    test.transaction((books) => books.admit(testOrder('b'), day - 5))
    test.transaction((books) => books.settle(testReceipt('b'), day - 4))
    expect(test.books.tenant()?.state.windows.day).toEqual({ window: day, postedNano: 600, reservedNano: bound })
    test.transaction((books) => books.close('a', 'void', day + 6))
    expect(test.books.tenant()?.state.windows.day).toEqual({ window: day, postedNano: 600, reservedNano: 0 })
  })

  it('[BKS23] a reservation that is raised after midnight moves to the new day and must fit there', () => {
    const raise = (limit: number) => {
      const test = openBooks({ creditNano: 100_000, limits: dayBudget(limit) })
      test.transaction((books) => books.admit(testOrder('a'), day - 5))
      test.transaction((books) => books.admit(testOrder('b'), day + 5))
      const raised = test.transaction((books) => books.readmit(testOrder('a', { promptTokens: 30 }), day + 6))
      return { raised, window: test.books.tenant()?.state.windows.day }
    }
    expect(raise(2_200)).toMatchObject({ raised: { ok: true, boundNano: 1_200 }, window: { reservedNano: 2_200 } })
    expect(raise(2_199)).toMatchObject({
      raised: { ok: false, code: 'insufficient_quota' },
      window: { reservedNano: bound },
    })
  })

  it('[BKS24] a receipt after its day charges at most what the current day still allows', () => {
    const test = openBooks({ creditNano: 100_000, limits: dayBudget(1_500) })
    test.transaction((books) => books.admit(testOrder('a'), 1))
    test.transaction((books) => books.close('a', 'expire', 2))
    test.transaction((books) => books.admit(testOrder('b'), day + 1))
    expect(test.transaction((books) => books.settle(testReceipt('a'), day + 2))).toBe('late')
    expect(test.books.tenant()?.state.windows.day).toEqual({ window: day, postedNano: 500, reservedNano: bound })
    expect(test.books.store.entries.ofRequest('a').at(-1)).toMatchObject({ cost_nano: 500, short_nano: 100 })
  })
})

const hourMs = 3_600_000
const zones = [
  ...['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Asia/Kathmandu', 'Pacific/Chatham'],
  ...['Australia/Lord_Howe', 'America/St_Johns', 'America/Havana', 'America/Sao_Paulo', 'Africa/Casablanca'],
  ...['Asia/Beirut', 'America/Asuncion', 'Pacific/Apia', 'Pacific/Kiritimati', 'Atlantic/Azores', 'Africa/Cairo'],
]

/** The periods that contain a time, found by asking for the local date of every quarter hour: no offsets involved. */
function scanned(unit: CalendarUnit, at: number, timeZone: string, anchorDay: number) {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone, dateStyle: 'short' })
  const spanDays = unit === 'day' ? 4 : 40
  const before = Math.floor((at - spanDays * day) / 900_000) * 900_000
  let latest = ''
  let begun = ''
  let from = Number.NaN
  for (let time = before; ; time += 900_000) {
    const date = format.format(time)
    if (date <= latest) continue
    latest = date
    const [year = 0, month = 0, ofMonth = 0] = date.split('-').map(Number)
    const monday = new Date(Date.UTC(year, month - 1, ofMonth - ((new Date(`${date}T00:00Z`).getUTCDay() + 6) % 7)))
    const anchor = new Date(Date.UTC(year, month - 1 - (ofMonth < anchorDay ? 1 : 0), anchorDay))
    const name = unit === 'day' ? date : (unit === 'week' ? monday : anchor).toISOString()
    if (name === begun) continue
    begun = name
    if (time > at) return { from, to: time }
    from = time
  }
}

describe('the billing calendar', () => {
  it('[CAL1] days, weeks and months are those that a scan of local dates finds, in every time zone', () => {
    const time = fc.integer({ min: Date.UTC(2005, 0, 1), max: Date.UTC(2035, 0, 1) })
    const unit = fc.constantFrom<CalendarUnit>('day', 'week', 'month')
    const anchor = fc.integer({ min: 1, max: 28 })
    fc.assert(
      fc.property(time, unit, fc.constantFrom(...zones), anchor, (at, name, timeZone, anchorDay) => {
        const calendar = { timeZone, anchorDay }
        const period = periodAt(name, { at, calendar })
        expect(period).toEqual(scanned(name, at, timeZone, anchorDay))
        for (const edge of [period.from, period.to - 1]) expect(periodAt(name, { at: edge, calendar })).toEqual(period)
        expect(periodAt(name, { at: period.to, calendar }).from).toBe(period.to)
      }),
      { numRuns: Number(process.env.CALENDAR_RUNS ?? 60) },
    )
  })

  it('[CAL1] days around a skipped or repeated midnight, and a skipped day, are those of the scan', () => {
    const changes = [
      ...[
        ['America/Sao_Paulo', '2018-11-04T03:00Z'],
        ['America/Sao_Paulo', '2018-02-18T02:00Z'],
      ],
      ...[
        ['America/St_Johns', '2010-11-07T02:31Z'],
        ['America/Havana', '2026-11-01T05:00Z'],
      ],
      ...[
        ['Pacific/Apia', '2011-12-30T10:00Z'],
        ['Asia/Beirut', '2026-03-28T22:00Z'],
        ['Africa/Cairo', '2026-10-29T21:00Z'],
      ],
    ] as const
    for (const [timeZone, text] of changes) {
      for (let hours = -3; hours <= 3; hours += 0.25) {
        const at = Date.parse(text) + hours * hourMs
        const calendar = { timeZone, anchorDay: 1 }
        expect(periodAt('day', { at, calendar }), `${timeZone} ${hours}`).toEqual(scanned('day', at, timeZone, 1))
      }
    }
  })

  it('[CAL2] a day of a change of the clock has its own length, and its hours follow the local clock', () => {
    const length = (timeZone: string, date: string) => {
      const { from, to } = periodAt('day', { at: Date.parse(date), calendar: { timeZone, anchorDay: 1 } })
      return (to - from) / hourMs
    }
    expect(length('Europe/Berlin', '2026-03-29T12:00Z')).toBe(23)
    expect(length('Europe/Berlin', '2026-10-25T12:00Z')).toBe(25)
    expect(length('America/New_York', '2026-11-01T12:00Z')).toBe(25)
    expect(length('Australia/Lord_Howe', '2026-10-04T00:00Z')).toBe(23.5)
    expect(length('Australia/Lord_Howe', '2026-04-05T00:00Z')).toBe(24.5)
    // Midnight was skipped; and a whole day was.
    expect(length('America/Sao_Paulo', '2018-11-04T12:00Z')).toBe(23)
    expect(length('Pacific/Apia', '2011-12-29T22:00Z')).toBe(24)
    const calendar = { timeZone: 'Australia/Lord_Howe', anchorDay: 1 }
    const starts = [Date.parse('2026-10-04T01:00+10:30')]
    for (let hour = 0; hour < 3; hour++) starts.push(hourEnd({ at: starts.at(-1) ?? 0, calendar }))
    // At 2:00 the clock moves to 2:30.
    expect(starts.map((at) => (at - (starts[0] ?? 0)) / hourMs)).toEqual([0, 1, 1.5, 2.5])
    for (const name of ['+05:30', 'Mars/Base', '', 'UTC; x', 'x'.repeat(2_000), 'Etc/../UTC'])
      expect(isTimeZone(name)).toBe(false)
    for (const name of ['UTC', 'Asia/Kolkata', 'America/Argentina/Buenos_Aires', 'Etc/GMT+5'])
      expect(isTimeZone(name)).toBe(true)
  })

  it('[CAL3] budgets begin at midnight in the time zone of the tenant, the monthly one on its anchor day', () => {
    const test = openBooks({
      creditNano: 100_000,
      limits: { ...noLimits, budgetNano: { total: null, day: 1_500, month: 2_100 } },
    })
    const settings = { timeZone: 'Asia/Kathmandu', anchorDay: 10 }
    test.transaction((books) => changeTenant(books, { settings }, 0))
    const at = (text: string) => Date.parse(`${text}+05:45`)
    const ask = (id: string, time: string) => {
      const admitted = test.transaction((books) => books.admit(testOrder(id), at(time)))
      if (admitted.ok) test.transaction((books) => books.settle(testReceipt(id), at(time)))
      return admitted
    }
    expect(ask('a', '2026-11-09T00:00')).toMatchObject({ ok: true })
    expect(ask('b', '2026-11-09T23:59')).toMatchObject({ ok: false, code: 'insufficient_quota' })
    expect(ask('c', '2026-11-10T00:00')).toMatchObject({ ok: true })
    expect(ask('d', '2026-11-11T00:00')).toMatchObject({ ok: true })
    expect(ask('e', '2026-12-09T23:59')).toMatchObject({ ok: false })
    expect(ask('f', '2026-12-10T00:00')).toMatchObject({ ok: true })
    const calendar = settings
    expect(windowEnd('month', { at: at('2026-12-09T23:59'), calendar })).toBe(at('2026-12-10T00:00'))
  })

  it('[CAL4] a change of the time zone or the anchor day never renews a budget early', () => {
    const change = fc.record({ timeZone: fc.constantFrom(...zones), anchorDay: fc.integer({ min: 1, max: 28 }) })
    const step = fc.record({ hours: fc.nat(60), change: fc.option(change, { freq: 3 }), settle: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 25 }), (steps) => {
        const budgetNano = { total: null, day: 2_500, month: 6_000 }
        const test = openBooks({ creditNano: 1_000_000, limits: { ...noLimits, budgetNano } })
        let now = Date.UTC(2026, 2, 20)
        const admitted: { id: string; at: number; nano: number }[] = []
        for (const [index, { hours, change: settings, settle }] of steps.entries()) {
          now += hours * hourMs
          if (settings) test.transaction((books) => changeTenant(books, { settings }, now))
          const id = `r${index}`
          const { ok } = test.transaction((books) => books.admit(testOrder(id), now))
          if (ok) {
            if (settle) test.transaction((books) => books.settle(testReceipt(id), now))
            admitted.push({ id, at: now, nano: settle ? 600 : 1_000 })
          }
          const calendar = test.books.tenant()?.settings ?? { timeZone: 'UTC', anchorDay: 1 }
          for (const kind of ['day', 'month'] as const) {
            const start = windowStart(kind, { at: now, calendar })
            const inside = admitted.filter(({ at }) => at >= start).reduce((sum, { nano }) => sum + nano, 0)
            // The cost of two windows that now overlap may exceed the budget. No request is admitted then.
            if (ok) expect(inside).toBeLessThanOrEqual(budgetNano[kind])
            for (const { state } of [test.books.tenant(), test.books.key('k')].filter((each) => each !== undefined)) {
              expect(state.windows[kind]?.reservedNano).toBeGreaterThanOrEqual(0)
            }
          }
        }
        for (const { id } of admitted) test.transaction((books) => books.close(id, 'expire', now))
        expect(test.books.tenant()?.state.windows).toMatchObject({
          day: { reservedNano: 0 },
          month: { reservedNano: 0 },
        })
        expect(test.books.key('k')?.state.windows).toMatchObject({
          day: { reservedNano: 0 },
          month: { reservedNano: 0 },
        })
      }),
      { numRuns: 60 },
    )
  })
})
