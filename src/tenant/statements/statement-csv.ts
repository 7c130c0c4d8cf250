/** A statement as one table: the amounts between the first and the last row add up to the closing balance. */
import { dollars } from '../../../backends/model/money.ts'
import { csvLine } from '../usage/csv.ts'
import type { Statement } from './statement.ts'

const columns = ['section', 'date', 'id', 'description', 'model', 'effort', 'requests', 'prompt_tokens'] as const
const sums = ['cached_tokens', 'output_tokens', 'reasoning_tokens', 'amount_nano', 'amount_usd'] as const

export function statementCsv(statement: Statement): string {
  const { entries, usage, entriesLeftOut } = statement
  const blank = Array.from({ length: 9 }, () => '')
  const amount = (nano: number) => [nano, dollars(nano)]
  const line = (section: string, nano: number, date = '', id: string | null = '', description: string | null = '') => [
    ...[section, date, id, description, ...blank.slice(2), ...amount(nano)],
  ]
  const listed = entries.reduce((sum, { amountNano }) => sum + amountNano, 0)
  const { creditsNano, reversalsNano, chargesNano, refundsNano } = statement
  const rest = creditsNano + reversalsNano + chargesNano + refundsNano - listed
  return [
    [...columns, ...sums],
    line('opening balance', statement.openingBalanceNano, statement.firstDay),
    ...entries.map(({ kind, at, id, note, amountNano }) =>
      line(kind, amountNano, new Date(at).toISOString(), id, note),
    ),
    ...(entriesLeftOut ? [line('further entries', rest)] : []),
    ...usage.map((each) => [
      ...['usage', '', '', '', each.model, each.effort, each.requests, each.promptTokens, each.cachedTokens],
      ...[each.outputTokens, each.reasoningTokens, ...amount(each.amountNano)],
    ]),
    line('closing balance', statement.closingBalanceNano, statement.lastDay),
  ]
    .map(csvLine)
    .join('')
}
