/** The rows as a table, for a terminal and as Markdown. An unknown value is a dash, never a zero. */
import type { Row } from './summary.ts'

export interface Titled {
  head: readonly string[]
  rows: readonly (readonly string[])[]
}

const dash = '–'

type Column = { head: string; cell: (row: Row) => string; shown: (rows: readonly Row[]) => boolean }

const always = () => true

const COLUMNS: readonly Column[] = [
  { head: 'task', cell: (row) => row.task, shown: always },
  { head: 'effort', cell: (row) => row.effort, shown: always },
  { head: 'correct', cell: (row) => `${row.right} / ${row.asked}`, shown: always },
  { head: 'accuracy', cell: (row) => percent(row.accuracy), shown: always },
  { head: '95 % interval', cell: (row) => `${percent(row.low)} – ${percent(row.high)}`, shown: always },
  { head: 'mean score', cell: (row) => number(row.score, 2), shown: (rows) => rows.some((row) => row.score !== null) },
  { head: 'refused', cell: (row) => String(row.refused), shown: (rows) => rows.some((row) => row.refused > 0) },
  { head: 'output tokens', cell: (row) => number(row.output?.mean ?? null, 1), shown: always },
  { head: 'p50', cell: (row) => number(row.output?.p50 ?? null, 0), shown: always },
  { head: 'p95', cell: (row) => number(row.output?.p95 ?? null, 0), shown: always },
  { head: 'reasoning', cell: (row) => number(row.reasoning, 1), shown: always },
  { head: 'visible', cell: (row) => number(row.visible, 1), shown: always },
  { head: 'first token, ms', cell: (row) => number(row.firstTokenMs, 0), shown: always },
  { head: 'ms per token', cell: (row) => number(row.tokenMs, 1), shown: always },
  { head: 'cost, $', cell: (row) => dollars(row.costNano), shown: (rows) => rows.some((row) => row.costNano !== null) },
]

export function tableOf(rows: readonly Row[]): Titled {
  const columns = COLUMNS.filter((column) => column.shown(rows))
  return { head: columns.map(({ head }) => head), rows: rows.map((row) => columns.map(({ cell }) => cell(row))) }
}

export function markdown({ head, rows }: Titled): string {
  const escaped = rows.map((row) => row.map((cell) => cell.replaceAll('|', '\\|')))
  const widths = widthsOf({ head, rows: escaped })
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => pad(cell, widths[at] ?? 0, at)).join(' | ')} |`
  const rule = `|${widths.map((width, at) => `${'-'.repeat(width + 1)}${at < 2 ? '-' : ':'}`).join('|')}|`
  return [line(head), rule, ...escaped.map(line)].join('\n')
}

export function plain(table: Titled): string {
  const widths = widthsOf(table)
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => pad(cell, widths[at] ?? 0, at))
      .join('  ')
      .trimEnd()
  return [line(table.head), widths.map((width) => '─'.repeat(width)).join('  '), ...table.rows.map(line)].join('\n')
}

function widthsOf({ head, rows }: Titled): number[] {
  return head.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)))
}

/** Text is aligned left, numbers right. */
function pad(cell: string, width: number, at: number): string {
  return at < 2 ? cell.padEnd(width) : cell.padStart(width)
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(share > 0 && share < 1 ? 1 : 0)} %`
}

function number(value: number | null, digits: number): string {
  return value === null ? dash : value.toFixed(digits)
}

function dollars(nano: number | null): string {
  return nano === null ? dash : (nano / 1e9).toPrecision(3)
}
