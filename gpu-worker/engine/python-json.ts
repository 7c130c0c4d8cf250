/**
 * JSON in the format of Python's `json.dumps(value, ensure_ascii=False)`: a space after every comma and colon. This
 * model family was trained on that format, and token counts and prefix cache hits depend on every space.
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

/**
 * Rewrites JSON text with Python's spacing. Numbers keep their spelling: parsing them would turn 1.0 into 1 and lose
 * digits of large numbers. Text that is not JSON becomes one JSON string.
 */
export function respace(text: string): string {
  if (text.trim() === '') return '{}'
  try {
    JSON.parse(text)
  } catch {
    return JSON.stringify(text)
  }
  const parts: string[] = []
  for (let at = 0; at < text.length; ) {
    const character = text.charAt(at)
    const end = character === '"' ? stringEnd(text, at) : isLoose(character) ? at + 1 : wordEnd(text, at)
    if (character === ',' || character === ':') parts.push(`${character} `)
    else if (!isSpace(character)) parts.push(respelt(text.slice(at, end)))
    at = end
  }
  return parts.join('')
}

/** Punctuation and white space between strings and words. */
function isLoose(character: string): boolean {
  return isSpace(character) || '{}[],:'.includes(character)
}

function isSpace(character: string): boolean {
  return character === ' ' || character === '\n' || character === '\r' || character === '\t'
}

/** Index after the closing quote of the string that begins at `at`. */
function stringEnd(text: string, at: number): number {
  let end = at + 1
  while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1
  return end + 1
}

/** Index after a number, a word or other text that is copied unchanged. */
function wordEnd(text: string, at: number): number {
  let end = at + 1
  while (end < text.length && text[end] !== '"' && !isLoose(text.charAt(end))) end++
  return end
}

/** A string with only the escapes that `JSON.stringify` writes. */
function respelt(lexeme: string): string {
  return lexeme.startsWith('"') && lexeme.includes('\\') ? JSON.stringify(JSON.parse(lexeme)) : lexeme
}
