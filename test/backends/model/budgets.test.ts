import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { type Budget, budgets } from '../../../backends/model/budgets.ts'
import { budgetsMarkdown } from '../../../src/docs/budgets-table.ts'

const path = fileURLToPath(new URL('../../../SECURITY.md', import.meta.url))
const section = /(<!-- budgets -->\n)[\s\S]*?(\n<!-- \/budgets -->)/

describe('the table of budgets', () => {
  it('[BUD1] SECURITY.md prints every budget as it is enforced; UPDATE_DOCS=1 writes the table again', () => {
    const text = readFileSync(path, 'utf8')
    const expected = text.replace(section, (_, open, close) => `${open}${budgetsMarkdown()}${close}`)
    if (process.env.UPDATE_DOCS === '1') writeFileSync(path, expected)
    else expect(text).toBe(expected)
  })

  it('[BUD2] every budget is a positive whole number with a unit, a noun phrase and a reason', () => {
    for (const [name, { value, bounds, reason }] of Object.entries(budgets as Record<string, Budget>)) {
      expect(Number.isSafeInteger(value) && value > 0, name).toBe(true)
      expect(bounds, name).toMatch(/^(?:[a-z]|JSON|PDF|GBNF|API)\S*.*[^.]$/)
      expect(reason, name).toMatch(/\w{3}/)
      expect(`${bounds}${reason}`, name).not.toMatch(/[|\n]/)
    }
  })
})
