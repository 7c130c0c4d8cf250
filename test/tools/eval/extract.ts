/** Extracts integers, code and words from the prose of an answer. */

/** The last integer in the text, thousands grouped or not. Null if there is none. */
export function lastInteger(text: string): number | null {
  const last = integers(text).at(-1)
  return last === undefined ? null : last
}

export function integers(text: string): number[] {
  // A minus right after a digit or a letter is a dash or a subtraction; digits after a decimal point are no integer.
  return [...text.matchAll(/(?<![\w.])(?:(?<![\w)])-)?\d+(?:,\d{3}(?!\d))*(?!\w|\.\d)/g)].map((match) =>
    Number(match[0].replaceAll(',', '')),
  )
}

/** The last boxed integer, otherwise the last integer: the convention for competition problems. */
export function boxedInteger(text: string): number | null {
  const boxes = [...text.matchAll(/\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g)].map((match) =>
    lastInteger(plain(match[1] ?? '')),
  )
  return boxes.findLast((value) => value !== null) ?? lastInteger(plain(text))
}

/** Unwraps numbers such as `\text{042}`, `$70$` and `1{,}024`. */
function plain(latex: string): string {
  return latex.replaceAll('{,}', ',').replace(/\\[a-z]+|[{}$\\]|\*\*/gi, ' ')
}

/** The last fenced block with a body, otherwise the whole text if it has no fence. */
export function lastCode(text: string): { code: string; language: string } | null {
  const blocks = [...text.matchAll(/```([\w+-]*)[^\S\n]*\n([\s\S]*?)```/g)]
  const last = blocks.findLast((block) => block[2]?.trim())
  if (last) return { code: last[2] ?? '', language: (last[1] ?? '').toLowerCase() }
  return text.includes('```') || !text.trim() ? null : { code: text, language: '' }
}

/** Lower-case words without punctuation and articles, for comparing two answers. */
export function words(text: string): string[] {
  return text
    .toLowerCase()
    .normalize('NFKC')
    .replace(/[^\p{L}\p{N}\s]/gu, ' ')
    .split(/\s+/)
    .filter((word) => word && !['a', 'an', 'the'].includes(word))
}

export function sentences(text: string): string[] {
  return text.split(/(?<=[.?!]["”]?)\s+/).filter((sentence) => sentence.trim())
}

export function listItems(text: string): string[] {
  return text
    .split('\n')
    .map((line) => /^\s*(?:\d+[.)]|[-*•])\s+(.+)$/.exec(line)?.[1]?.replaceAll('*', '').trim())
    .filter((item) => item !== undefined)
}
