/** JSON as text: read and written without parsing its numbers. */

const word = /[^\s"{}[\],:]+/y

/** The lexemes of valid JSON: strings with their quotes, punctuation, numbers and words. White space is left out. */
export function* lexemes(text: string): Generator<string> {
  for (let at = 0; at < text.length; ) {
    const character = text.charAt(at)
    if (character === '"') {
      const end = stringEnd(text, at)
      yield text.slice(at, end)
      at = end
    } else if ('{}[],:'.includes(character)) {
      yield character
      at++
    } else {
      word.lastIndex = at
      const found = word.exec(text)?.[0]
      if (found) yield found
      at += found?.length ?? 1
    }
  }
}

/** Without white space, and with only the escapes that `JSON.stringify` writes. */
export function minified(text: string): string {
  return Array.from(lexemes(text), respelt).join('')
}

/** A string with only the escapes that `JSON.stringify` writes; any other lexeme unchanged. */
export function respelt(lexeme: string): string {
  return lexeme.startsWith('"') && lexeme.includes('\\') ? JSON.stringify(JSON.parse(lexeme)) : lexeme
}

/** Writes an object as `JSON.stringify` does, with members of `texts` as their JSON texts. */
export function objectText(value: object, texts: Readonly<Record<string, string>>): string {
  const members = Object.entries(value).flatMap(([key, each]) => {
    const text = Object.hasOwn(texts, key) ? texts[key] : JSON.stringify(each)
    return text === undefined ? [] : [`${JSON.stringify(key)}:${text}`]
  })
  return `{${members.join(',')}}`
}

/** Index after the closing quote of the string that begins at `at`. */
function stringEnd(text: string, at: number): number {
  let end = at + 1
  while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1
  return end + 1
}
