/** The published matrix, from what the suite saw. Pure. */
import { type Described, traits } from '../../../backends/contract/backend.ts'
import type { Column } from './conformance.ts'

const signs = { yes: '✓', estimated: '≈', refused: '–', no: '✗', untested: '·' }
const legend =
  '✓ holds · ≈ works, a number is estimated · – not offered, and refused or warned about · ✗ does not hold · “·” cannot be shown here'

export function matrix(columns: readonly Column[]): string {
  const shown = columns.filter(({ backend }) => backend !== 'fake')
  const signOf = ({ verdicts }: Column, trait: (typeof traits)[number]) =>
    signs[verdicts.get(trait)?.verdict ?? 'untested']
  return [
    row(['', ...shown.map(({ title }) => title)]),
    row(['---', ...shown.map(() => ':-:')]),
    row(['rows', ...shown.map(({ source }) => (source.startsWith('live') ? '**live**' : 'records'))]),
    ...traits.map((trait) => row([trait, ...shown.map((column) => signOf(column, trait))])),
    '',
    legend,
    '',
    ...shown.map(({ title, version, source }) => `- **${title}**${version ? ` ${version}` : ''}: ${source}`),
    '',
    'What does not hold, and what is estimated, in the suite’s words:',
    '',
    ...shown.flatMap((column) => remarks(column)),
  ].join('\n')
}

function remarks({ title, verdicts }: Column): string[] {
  const told = [...verdicts].filter(([, { verdict }]) => verdict === 'no' || verdict === 'estimated')
  return told.length === 0
    ? []
    : [`- **${title}**: ${told.map(([trait, { verdict, note }]) => `${signs[verdict]} ${trait} (${note})`).join('; ')}`]
}

/** Who counts what, from the adapters' own words. */
export function truthTable(all: readonly Described[]): string {
  const rows = all.map(({ title, truth: t }) =>
    row([title, t.promptBefore, t.prompt, t.cached, t.output, t.reasoning, t.aborted]),
  )
  const head = ['', 'prompt, before it runs', 'prompt', 'cached', 'output', 'reasoning', 'of an answer broken off']
  return [row(head), row(head.map(() => '---')), ...rows].join('\n')
}

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`

const marks = {
  matrix: ['<!-- matrix: npm run conformance -- --write -->', '<!-- end of matrix -->'],
  truth: ['<!-- truth: the same -->', '<!-- end of truth -->'],
} as const

/** The text between the marks, or undefined where they are not. */
export function published(page: string, what: keyof typeof marks): string | undefined {
  const [begin, end] = marks[what]
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  return from < 0 || to < from ? undefined : page.slice(from + begin.length, to).trim()
}

export function publish(page: string, what: keyof typeof marks, text: string): string {
  const [begin, end] = marks[what]
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  return `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`
}

/** The embedded engine is examined anew each time; the day is no difference. */
export const undated = (text: string) => text.replaceAll(/\d{4}-\d\d-\d\d/g, 'DATE')
