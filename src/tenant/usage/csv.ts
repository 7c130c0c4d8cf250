/** Tables as CSV (RFC 4180) that a spreadsheet opens without running anything. */

/** One line, with its end. A missing value is an empty cell. */
export function csvLine(cells: readonly (string | number | null | undefined)[]): string {
  return `${cells.map(csvCell).join(',')}\r\n`
}

/** A text that a spreadsheet would take for a formula gets an apostrophe in front; a number stays a number. */
function csvCell(value: string | number | null | undefined): string {
  const text = typeof value === 'string' && isFormula(value) ? `'${value}` : String(value ?? '')
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** Formulas begin with one of these, also after spaces. A decimal number is none, though it may begin with a minus. */
function isFormula(text: string): boolean {
  return /^\s*[=+\-@\t\r|%＝＋－＠]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text)
}
