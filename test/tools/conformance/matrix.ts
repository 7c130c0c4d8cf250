/** Writes the published matrix from the suite's results. Pure. */
import { type Described, traits } from '../../../backends/contract/backend.ts'
import type { Column } from './conformance.ts'

const signs = { yes: '✓', estimated: '≈', refused: '–', no: '✗', untested: '·' }
const legend =
  '✓ holds · ≈ works, with an estimated number · – not supported, refused or warned about · ✗ does not hold · “·” not testable here'

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
    'Rows that do not hold or are estimated, with the suite’s notes:',
    '',
    ...shown.flatMap((column) => remarks(column)),
  ].join('\n')
}

function remarks({ title, verdicts }: Column): string[] {
  const shown = [...verdicts].filter(([, { verdict }]) => verdict === 'no' || verdict === 'estimated')
  return shown.length === 0
    ? []
    : [
        `- **${title}**: ${shown.map(([trait, { verdict, note }]) => `${signs[verdict]} ${trait} (${note})`).join('; ')}`,
      ]
}

/** The source of each count, from the adapters' `truth`. */
export function truthTable(all: readonly Described[]): string {
  const rows = all.map(({ title, truth: t }) =>
    row([title, t.promptBefore, t.prompt, t.cached, t.output, t.reasoning, t.aborted]),
  )
  const head = ['', 'prompt before the run', 'prompt', 'cached', 'output', 'reasoning', 'aborted answer']
  return [row(head), row(head.map(() => '---')), ...rows].join('\n')
}

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`

const marks = {
  matrix: ['<!-- matrix: npm run conformance -- --write -->', '<!-- end of matrix -->'],
  truth: ['<!-- truth: the same -->', '<!-- end of truth -->'],
  tokenizers: ['<!-- tokenizers: npm run parity -- --write -->', '<!-- end of tokenizers -->'],
} as const

/** The text between the marks, or undefined if a mark is missing. */
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

/** The text without dates: the embedded engine is examined again on every run. */
export const undated = (text: string) => text.replaceAll(/\d{4}-\d\d-\d\d/g, 'DATE')
