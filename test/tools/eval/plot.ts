/**
 * Accuracy over mean output tokens, one line per task, from its cheapest to its most expensive effort. The SVG is
 * written by hand and follows the reader's light or dark mode. The token axis is logarithmic, since effort multiplies
 * tokens.
 */
import type { Row } from './summary.ts'
import { percent } from './table.ts'

const width = 920
const left = 64
const right = 190
const top = 64
const plotWidth = width - left - right
const plotHeight = 400
const bottom = 60
const height = top + plotHeight + bottom
const labelHeight = 17

/** Colours that most people can distinguish, on white and on near-black; after ten lines the dash pattern changes. */
const light = [
  '#2563c9',
  '#c2500a',
  '#12805c',
  '#b0307f',
  '#7a5cd0',
  '#8a6d00',
  '#c22f2f',
  '#0b7f95',
  '#5f6b7a',
  '#3f7d20',
]
const dark = [
  '#7db1ff',
  '#ff9d5c',
  '#4fd1a1',
  '#ff8ac8',
  '#b9a2ff',
  '#e6c34d',
  '#ff8080',
  '#5cd3e8',
  '#b3bdc9',
  '#9ad46b',
]

interface Point {
  effort: string
  tokens: number
  accuracy: number
  low: number
  high: number
}

interface Line {
  task: string
  points: Point[]
}

export function plot(rows: readonly Row[], title: string): string {
  const lines = linesOf(rows)
  const { from, to, ticks } = tokenAxis(lines.flatMap(({ points }) => points.map(({ tokens }) => tokens)))
  const x = (tokens: number) =>
    left + ((Math.log(tokens) - Math.log(from)) / (Math.log(to) - Math.log(from))) * plotWidth
  const y = (share: number) => top + (1 - share) * plotHeight
  const labels = placed(
    lines.map(({ points }) => ({ at: y(points.at(-1)?.accuracy ?? 0), from: x(points.at(-1)?.tokens ?? 1) })),
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13">`,
    `<title>${escaped(title)}</title>`,
    style(),
    `<rect class="paper" width="${width}" height="${height}" rx="8"/>`,
    `<text class="ink" x="${left}" y="28" font-size="16" font-weight="600">${escaped(title)}</text>`,
    `<text class="soft" x="${left}" y="47" font-size="12">accuracy over mean output tokens; one line per task, from its lowest effort (hollow) to its highest; bars are 95 % intervals</text>`,
    ...[0, 0.25, 0.5, 0.75, 1].map((share) => accuracyTick(share, y(share))),
    ...ticks.map((tokens) => tokenTick(tokens, x(tokens))),
    `<text class="soft" x="${left + plotWidth / 2}" y="${height - 14}" text-anchor="middle">mean output tokens per answer (logarithmic)</text>`,
    ...lines.map((line, index) => drawn(line, index, x, y, labels[index] ?? 0)),
    '</svg>',
    '',
  ].join('\n')
}

/** A task's points by their mean tokens. A task without any token count is left out. */
function linesOf(rows: readonly Row[]): Line[] {
  const groups = Map.groupBy(
    rows.filter(({ output }) => output !== null && output.mean > 0),
    ({ task }) => task,
  )
  return [...groups].map(([task, group]) => ({
    task,
    points: group.map(({ effort, output, accuracy, low, high }) => ({
      effort,
      tokens: output?.mean ?? 1,
      accuracy,
      low,
      high,
    })),
  }))
}

/** Ends on round numbers just outside the drawn range; ticks at 1, 2 and 5 of each power of ten. */
export function tokenAxis(tokens: readonly number[]): { from: number; to: number; ticks: number[] } {
  const [least, most] = tokens.length === 0 ? [1, 100] : [Math.min(...tokens), Math.max(...tokens)]
  const round = Array.from({ length: 24 }, (_, index) => [1, 2, 5].map((step) => step * 10 ** (index - 1))).flat()
  const from = round.findLast((value) => value <= least / 1.15) ?? 0.1
  const to = round.find((value) => value >= most * 1.15) ?? most * 2
  return { from, to, ticks: round.filter((value) => value >= from && value <= to) }
}

/**
 * Labels keep their order and a minimum distance, as near to their lines as possible. Of lines that end at one height,
 * the one whose end is nearest comes first, so that the leads of the others pass below it.
 */
export function placed(wanted: readonly { at: number; from: number }[]): number[] {
  const order = wanted.map((each, index) => ({ ...each, index })).toSorted((a, b) => a.at - b.at || b.from - a.from)
  const spots: number[] = []
  for (const { at } of order) spots.push(Math.max(at, (spots.at(-1) ?? Number.NEGATIVE_INFINITY) + labelHeight))
  let ceiling = top + plotHeight
  for (let index = spots.length - 1; index >= 0; index--) {
    spots[index] = Math.min(spots[index] ?? 0, ceiling)
    ceiling = (spots[index] ?? 0) - labelHeight
  }
  const result: number[] = []
  for (const [rank, { index }] of order.entries()) result[index] = spots[rank] ?? 0
  return result
}

function drawn(
  { task, points }: Line,
  index: number,
  x: (tokens: number) => number,
  y: (share: number) => number,
  labelY: number,
): string {
  const last = points.at(-1)
  if (!last) return ''
  const path = points
    .map(({ tokens, accuracy }, at) => `${at === 0 ? 'M' : 'L'}${at1(x(tokens))} ${at1(y(accuracy))}`)
    .join(' ')
  const dash = index >= light.length ? ' stroke-dasharray="6 4"' : ''
  const labelX = left + plotWidth + 22
  return [
    `<g class="line${index % light.length}">`,
    ...points.map(
      ({ tokens, low, high }) => `<path class="bar" d="M${at1(x(tokens))} ${at1(y(low))}V${at1(y(high))}"/>`,
    ),
    `<path class="stroke" d="${path}"${dash}/>`,
    ...points.map((point, at) => mark(point, x(point.tokens), y(point.accuracy), at < points.length - 1)),
    `<path class="lead" d="M${at1(x(last.tokens) + 7)} ${at1(y(last.accuracy))}L${labelX - 4} ${at1(labelY)}"/>`,
    `<text class="fill" x="${labelX}" y="${at1(labelY + 4.5)}">${escaped(task)} <tspan class="soft" font-size="11">${percent(last.accuracy)}</tspan></text>`,
    '</g>',
  ].join('\n')
}

function mark({ effort, tokens, accuracy }: Point, cx: number, cy: number, hollow: boolean): string {
  const words = `${effort}: ${percent(accuracy)}, ${tokens.toFixed(1)} tokens`
  return `<circle class="${hollow ? 'hollow' : 'fill'}" cx="${at1(cx)}" cy="${at1(cy)}" r="5"><title>${escaped(words)}</title></circle>`
}

function accuracyTick(share: number, y: number): string {
  return `<path class="grid" d="M${left} ${at1(y)}H${left + plotWidth}"/><text class="soft" x="${left - 10}" y="${at1(y + 4.5)}" text-anchor="end">${percent(share).replace('.0', '')}</text>`
}

function tokenTick(tokens: number, x: number): string {
  const y = top + plotHeight
  return `<path class="grid" d="M${at1(x)} ${top}V${y + 5}"/><text class="soft" x="${at1(x)}" y="${y + 21}" text-anchor="middle">${tokens}</text>`
}

function style(): string {
  const colours = (list: readonly string[]) =>
    list
      .map(
        (colour, index) =>
          `.line${index} .stroke,.line${index} .bar,.line${index} .hollow,.line${index} .lead{stroke:${colour}}.line${index} .fill{fill:${colour}}`,
      )
      .join('')
  return `<style>
.paper{fill:#fff}.ink{fill:#1c2430}.soft{fill:#5a6675}.grid{stroke:#e3e7ec;fill:none}
.stroke{fill:none;stroke-width:2.5;stroke-linejoin:round}.bar{fill:none;stroke-width:4;opacity:.22;stroke-linecap:round}.hollow{fill:#fff;stroke-width:2.5}.lead{fill:none;opacity:.4;stroke-dasharray:2 3}
${colours(light)}
@media (prefers-color-scheme: dark){.paper{fill:#12161c}.ink{fill:#eef2f6}.soft{fill:#a3afbd}.grid{stroke:#2a323d}.hollow{fill:#12161c}
${colours(dark)}}
</style>`
}

function at1(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
