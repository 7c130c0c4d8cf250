import { describe, expect, it } from 'vitest'
import { type Entry, keyOf, readJournal } from './journal.ts'
import { optionsOf } from './options.ts'
import { placed, plot, tokenAxis } from './plot.ts'
import { summary } from './summary.ts'
import { markdown, plain, tableOf } from './table.ts'
import { lineOf } from './terminal.ts'

const entry = (more: Partial<Entry> = {}): Entry => ({
  task: 'sums',
  effort: 'none',
  id: '1',
  model: 'm',
  settings: { temperature: 0, tokensMax: null },
  right: true,
  score: 1,
  said: '7',
  finish: 'stop',
  refused: null,
  effortServed: null,
  tokens: { prompt: 100, cached: 40, output: 10, reasoning: 6 },
  firstTokenMs: 20,
  tokenMs: 2,
  ...more,
})

const rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }

describe('journal', () => {
  it('[EVL27] a case is identified by task, effort, id, model and settings, and by nothing else', () => {
    const key = keyOf(entry())
    expect(keyOf(entry({ right: false, said: '', tokens: null }))).toBe(key)
    const others = [
      entry({ task: 'products' }),
      entry({ effort: 'high' }),
      entry({ id: '2' }),
      entry({ model: 'n' }),
      entry({ settings: { temperature: 0.7, tokensMax: null } }),
      entry({ settings: { temperature: 0, tokensMax: 5 } }),
    ].map(keyOf)
    expect(new Set([key, ...others]).size).toBe(7)
  })

  it('[EVL28] lines that are no entries are counted and skipped, and the later of two equal keys counts', () => {
    const text = [entry({ right: false }), entry(), entry({ id: '2' })].map((each) => JSON.stringify(each)).join('\n')
    const { entries, torn } = readJournal(`${text}\n{"task": "sums"}\n{"task": "su`)
    expect([entries.size, torn]).toEqual([2, 2])
    expect(entries.get(keyOf(entry()))?.right).toBe(true)
  })
})

describe('summary and table', () => {
  it('[EVL29] tokens are split into reasoning and visible, and the cost is exact to the nano-dollar', () => {
    const [row] = summary(
      [entry(), entry({ right: false, score: 0, tokens: { prompt: 7, cached: null, output: 30, reasoning: 10 } })],
      rates,
    )
    expect(row).toMatchObject({ asked: 2, right: 1, accuracy: 0.5, reasoning: 8, visible: 12 })
    expect(row?.output).toEqual({ mean: 20, p50: 20, p95: 29 })
    expect(row?.costNano).toBe(60 * 150 + 40 * 15 + 10 * 600 + 7 * 150 + 30 * 600)
  })

  it('[EVL30] an unknown value is a dash in the table, never a zero', () => {
    const unknown = entry({ tokens: { prompt: 1, cached: null, output: 9, reasoning: null }, tokenMs: null })
    const rows = summary([unknown, entry({ task: 'tools', tokens: null, firstTokenMs: null })], rates)
    expect(rows[0]).toMatchObject({ reasoning: null, visible: null, tokenMs: null })
    expect(rows[1]).toMatchObject({ output: null, costNano: null })
    expect(tableOf(rows).rows[1]).toEqual([
      'tools',
      'none',
      '1 / 1',
      '100 %',
      '20.7 % – 100 %',
      '–',
      '–',
      '–',
      '–',
      '–',
      '–',
      '2.0',
      '–',
    ])
    expect(tableOf(summary([entry()], null)).head).not.toContain('cost, $')
  })

  it('[EVL31] the Markdown and the plain table have the same cells in aligned columns', () => {
    const table = tableOf(
      summary([entry(), entry({ effort: 'high', score: 0.5 }), entry({ task: 'a|b', refused: 'too_long' })], rates),
    )
    const lines = markdown(table).split('\n')
    expect(new Set(lines.map((line) => line.length)).size).toBe(1)
    expect(lines.at(-1)).toContain('a\\|b')
    expect(table.head).toEqual(expect.arrayContaining(['mean score', 'refused', 'cost, $']))
    expect(plain(table).split('\n').length).toBe(5)
  })
})

describe('plot', () => {
  const rows = summary(
    [
      entry({ right: false }),
      entry({ effort: 'high', tokens: { prompt: 1, cached: 0, output: 90, reasoning: 80 } }),
      entry({ task: 'a<b' }),
      entry({ task: 'uncounted', tokens: null }),
    ],
    null,
  )

  it('[EVL32] a task is one line over its efforts, in light and dark mode, with all text escaped', () => {
    const svg = plot(rows, 'm & m')
    expect(svg.match(/class="stroke" d="M[^"]*L[^"]*"/g)?.length).toBe(1)
    expect(svg.match(/<text class="fill"/g)?.length).toBe(2)
    expect(svg).toContain('prefers-color-scheme: dark')
    expect(svg).toContain('m &amp; m')
    expect(svg).toContain('a&lt;b')
    expect(svg).not.toMatch(/NaN|Infinity|undefined|uncounted/)
    expect(plot([], 'nothing')).not.toMatch(/NaN|Infinity|undefined/)
  })

  it('[EVL33] labels keep their order, never overlap, and stay within the plot while there is space', () => {
    const at = (heights: number[]) => placed(heights.map((height, from) => ({ at: height, from })))
    const crowded = at([64, 64, 64, 300, 64])
    expect(crowded.toSorted((a, b) => a - b)).toEqual([64, 81, 98, 115, 300])
    expect(crowded[4]).toBe(64)
    expect(at([464, 464])).toEqual([464, 447])
    expect(at([460, 464])).toEqual([447, 464])
  })

  it('[EVL34] the token axis ends on round numbers around everything that is drawn', () => {
    expect(tokenAxis([3, 246])).toEqual({ from: 2, to: 500, ticks: [2, 5, 10, 20, 50, 100, 200, 500] })
    expect(tokenAxis([1]).ticks).toEqual([0.5, 1, 2])
  })
})

describe('command line', () => {
  it('[EVL35] an invalid option is refused by its name before any request', () => {
    expect(() => optionsOf(['--count', 'many'])).toThrow(/^--count/)
    expect(() => optionsOf(['--task', 'poems'])).toThrow('--task: there is no poems')
    expect(() => optionsOf(['--effort', 'hard'])).toThrow(/^--effort/)
    expect(() => optionsOf(['--price', '1,2'])).toThrow(/^--price/)
    expect(() => optionsOf(['--colour', 'red'])).toThrow('--colour')
  })

  it('[EVL36] task groups, files alone, efforts in any order and prices per million are accepted', () => {
    const options = optionsOf([
      '--task',
      'tools,sums',
      '--effort',
      'high,none,high',
      '--price',
      '0.15,0.015,0.6',
      '--url',
      'http://a/v1/',
    ])
    expect(options.tasks).toEqual(['tools', 'tools-result', 'tools-parallel', 'sums'])
    expect(options.efforts).toEqual(['none', 'high'])
    expect(options.rates).toEqual(rates)
    expect(options.url).toBe('http://a/v1')
    expect(optionsOf(['--aime', 'a.jsonl']).tasks).toEqual([])
    expect(optionsOf([]).tasks.length).toBe(10)
  })

  it('[EVL37] a bar fits its terminal, and without one there is only text', () => {
    const state = { done: 30, total: 120, right: 20, failed: 1, seconds: 30 }
    expect(lineOf(state, 0)).toBe('30 / 120, 20 right, 1 failed, 1 min 30 s left')
    expect(lineOf(state, 80)).toMatch(/^█+░+ {2}30 \/ 120/)
    for (const columns of [20, 40, 60, 80, 200])
      expect(lineOf({ ...state, failed: 0 }, columns).length).toBeLessThan(Math.max(columns, 37))
    expect(lineOf({ ...state, done: 0 }, 0)).not.toContain('left')
  })
})
