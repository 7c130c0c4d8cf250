/**
 * The text without `character` at its end, in time linear in what is cut. A regular expression as `/ +$/` tries again at
 * each character of a run that does not end the text: a million spaces and a letter take hours.
 */
export function trimmedEnd(text: string, character: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === character) end--
  return text.slice(0, end)
}
