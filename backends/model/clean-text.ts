/**
 * Sanitises untrusted text before it reaches a header, a warning, a log line, a metric or a label: printable ASCII of
 * bounded length. It removes line ends, control characters and excess length that an attacker sends.
 */

/** Longest text in one header, in characters. Common clients refuse more than 16 KiB of headers in total. */
const headerCharactersMax = 2_000

/** Printable ASCII of `text`, at most `charactersMax` characters; every other character becomes "?". */
export function cleanText(text: string, charactersMax: number): string {
  const cut = text.length > charactersMax ? `${text.slice(0, Math.max(0, charactersMax - 3))}...` : text
  return cut.replace(/[^\x20-\x7e]/g, '?')
}

/** The value of a warnings header: the warnings that fit, then the number left out. Empty if there are none. */
export function warningsHeaderValue(warnings: readonly string[]): string {
  const clean = [...new Set(warnings.map((warning) => cleanText(warning, 400)))]
  let value = ''
  for (const [index, warning] of clean.entries()) {
    const next = value === '' ? warning : `${value}; ${warning}`
    if (next.length > headerCharactersMax - 32) return `${value}; and ${clean.length - index} more`
    value = next
  }
  return value
}
