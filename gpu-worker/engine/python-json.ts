/**
 * JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: a space after every comma and colon. Models of
 * this family were trained on that form, and token counts and prefix hits depend on every space of it.
 */

export function dumps(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(dumps).join(', ')}]`
  if (value !== null && typeof value === 'object') {
    const members = Object.entries(value).flatMap(([key, each]) => (each === undefined ? [] : [member(key, each)]))
    return `{${members.join(', ')}}`
  }
  return JSON.stringify(value) ?? 'null'
}

function member(key: string, value: unknown): string {
  return `${JSON.stringify(key)}: ${dumps(value)}`
}

const lexeme = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g

/**
 * The same JSON text with Python's spacing. Numbers stay as they are written: reading them would turn 1.0 into 1 and
 * lose digits of large ones. Text that is not JSON becomes one JSON string.
 */
export function respace(text: string): string {
  if (text.trim() === '') return '{}'
  try {
    JSON.parse(text)
  } catch {
    return JSON.stringify(text)
  }
  const lexemes = text.match(lexeme) ?? []
  return lexemes.map(spaced).join('')
}

function spaced(lexeme: string): string {
  if (lexeme === ',' || lexeme === ':') return `${lexeme} `
  return lexeme.startsWith('"') ? JSON.stringify(JSON.parse(lexeme)) : lexeme
}
