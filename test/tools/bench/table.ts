/** The Markdown table that the bench prints: medians over rounds, with minimum and maximum in parentheses. */
import { type Cell, type Cells, firstTokenOf, paths } from './edge.ts'
import { quantile, type Spread, spread } from './figures.ts'
import type { TokenCells } from './tokens.ts'

export interface Results {
  loads: { name: string; cells: Cells }[]
  tokens: { concurrency: number; cells: TokenCells }[]
}

type Row = [
  measure: string,
  load: string,
  library: string,
  direct: string,
  passThrough: string,
  edge: string,
  ratio: string,
]

const head: Row = ['measure', 'load', 'bare library', 'worker', 'pass-through', 'Tramontane', 'Tramontane vs. baseline']

export function table(results: Results): string {
  const rows = [
    head,
    ...results.loads.flatMap(({ name, cells }) => loadRows(name, cells)),
    ...results.tokens.map(({ concurrency, cells }) => tokenRow(concurrency, cells)),
  ]
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: Row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`
  return [line(head), rule, ...rows.slice(1).map(line)].join('\n')
}

/** Milliseconds that the edge adds to the pass-through's first token. */
export function added(cells: Cells): Spread {
  return spread(
    paired(
      cells,
      (cell) => firstTokenOf(cell, 0.5),
      (edge, other) => edge - other,
    ),
  )
}

export function factor(cells: Cells): Spread {
  return spread(
    paired(
      cells,
      (cell) => cell.workerdMicro,
      (edge, other) => edge / other,
    ),
  )
}

function loadRows(load: string, cells: Cells): Row[] {
  const p50 = paths.map((path) => show(spread(cells[path].map((cell) => firstTokenOf(cell, 0.5))), 2)) as Three
  const p99 = paths.map((path) =>
    quantile(
      cells[path].flatMap((cell) => cell.firstTokenMs),
      0.99,
    ).toFixed(1),
  ) as Three
  const cpu = (read: (cell: Cell) => number): Three =>
    [
      '',
      ...(['pass-through', 'edge'] as const).map((path) =>
        show(spread(cells[path].map((cell) => read(cell) / 1_000)), 2),
      ),
    ] as Three
  return [
    ['first token p50, ms', load, '', ...p50, `+${show(added(cells), 2)} ms`],
    ['first token p99, ms', load, '', ...p99, `+${(Number(p99[2]) - Number(p99[1])).toFixed(1)} ms`],
    ['CPU of workerd, ms per request', load, '', ...cpu((cell) => cell.workerdMicro), `×${show(factor(cells), 2)}`],
    ['CPU of the host, ms per request', load, '', ...cpu((cell) => cell.hostMicro), ''],
  ]
}

type Three = [string, string, string]

function tokenRow(concurrency: number, { bare, direct, edge }: TokenCells): Row {
  const tokens = (values: number[]) => show(spread(values), 0)
  const against = (values: number[]) => spread(values.map((value, index) => value / (bare[index] ?? Number.NaN)))
  const ratio = `×${show(against(edge), 2)}; worker ×${show(against(direct), 2)}`
  const load = concurrency === 1 ? '1 request' : `${concurrency} at once`
  return ['tokens/s', load, tokens(bare), tokens(direct), '', tokens(edge), ratio]
}

/** Compares within a round, so that a disturbance affects both values. */
function paired(
  cells: Cells,
  read: (cell: Cell) => number,
  compare: (edge: number, other: number) => number,
): number[] {
  return cells.edge.flatMap((cell, round) => {
    const other = cells['pass-through'][round]
    return other ? [compare(read(cell), read(other))] : []
  })
}

function show({ median, min, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`
}
