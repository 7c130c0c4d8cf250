/**
 * One trace's table: a row per router, means over seeds. Times are fleet time in milliseconds: median/99th percentile.
 */
import type { Figures } from './play.ts'

const head = [
  '',
  'profile',
  'goodput',
  'on time none/high, %',
  'TTFT none, ms',
  'TTFT high, ms',
  'TPOT none, ms',
  'TPOT high, ms',
  'Jain',
]

export function rowOf(name: string, profile: string, figures: Figures[]): string[] {
  const mean = (value: (each: Figures) => number) => meanOf(figures.map(value))
  const pair = (value: (each: Figures) => [number, number]) =>
    `${Math.round(mean((each) => value(each)[0]))}/${Math.round(mean((each) => value(each)[1]))}`
  return [
    name,
    profile,
    `${two(mean(({ goodput }) => goodput))} (${figures.map(({ goodput }) => two(goodput)).join(' ')})`,
    `${percent(mean(({ share }) => share.latency))}/${percent(mean(({ share }) => share.throughput))}`,
    pair(({ firstTokenMs }) => firstTokenMs.latency),
    pair(({ firstTokenMs }) => firstTokenMs.throughput),
    pair(({ tokenMs }) => tokenMs.latency),
    pair(({ tokenMs }) => tokenMs.throughput),
    mean(({ jain }) => jain).toFixed(3),
  ].map((cell) => cell.replaceAll('NaN', '–'))
}

export function print(rows: string[][]): void {
  printUnder(head, rows)
}

export function printUnder(head: string[], rows: string[][]): void {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  for (const row of all) console.log(`  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`)
}

export function meanOf(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

export function two(value: number): string {
  return value.toFixed(2)
}

function percent(share: number): string {
  return Number.isNaN(share) ? '–' : (100 * share).toFixed(0)
}
