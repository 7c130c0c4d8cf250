/**
 * Removes `character` from the end of the text, in time linear in the length removed. A regular expression such as
 * `/ +$/` retries at each character of an inner run: a million spaces followed by a letter take hours.
 */
export function trimmedEnd(text: string, character: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === character) end--
  return text.slice(0, end)
}
