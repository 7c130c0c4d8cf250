/** The published table of budgets, in SECURITY.md and in the documentation. */
import { type Budget, budgets } from '../../backends/model/budgets.ts'

interface BudgetRow {
  name: string
  bounds: string
  value: string
  reason: string
}

function budgetRows(): BudgetRow[] {
  return Object.entries(budgets as Record<string, Budget>).map(([name, { value, unit, bounds, reason }]) => ({
    name,
    bounds,
    value: written(value, unit),
    reason,
  }))
}

/** As a Markdown table. */
export function budgetsMarkdown(): string {
  const rows = budgetRows().map(({ bounds, value, reason }) => `| ${bounds} | ${value} | ${reason} |`)
  return ['| what | at most | why |', '|---|---|---|', ...rows].join('\n')
}

function written(value: number, unit: Budget['unit']): string {
  if (unit === 'bytes' && value >= 1_048_576) return `${round(value / 1_048_576)} MiB`
  if (unit === 'bytes' && value >= 1_024) return `${round(value / 1_024)} KiB`
  if (unit === 'milliseconds' && value >= 1_000) return `${round(value / 1_000)} s`
  if (unit === 'milliseconds') return `${value} ms`
  if (unit === 'percent') return `${value} %`
  if (unit === 'megabytes') return `${value.toLocaleString('en-US')} MB`
  const number = value.toLocaleString('en-US')
  return unit === 'count' ? number : `${number} ${unit}`
}

function round(value: number): string {
  return String(Math.round(value * 10) / 10)
}
