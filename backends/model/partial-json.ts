/**
 * Completes JSON text that a limit cut off, so that it can be parsed: an open string and open containers are closed, and
 * an incomplete key, number or word at the end is dropped. Linear time.
 */

/** @returns the parsed value; an empty object if nothing of the text can be kept */
export function parsePartial(text: string): unknown {
  const whole = parse(text)
  if (whole !== undefined) return whole
  const { stringAt, kept } = scan(text)
  const string = stringAt === undefined ? undefined : parse(closed(`${withoutHalfEscape(text)}"`))
  return string ?? parse(closed(text.slice(0, kept))) ?? {}
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

interface Scan {
  /** Set if the text ends inside a string. */
  stringAt: number | undefined
  /** The length of the longest prefix that only needs its containers closed. */
  kept: number
  /** The characters that close the containers open at the end. */
  closers: string[]
}

function scan(text: string): Scan {
  const closers: string[] = []
  let kept = 0
  let stringAt: number | undefined
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (stringAt !== undefined) {
      if (character === '\\') at += 1
      else if (character === '"') stringAt = undefined
      continue
    }
    if (character === '"') stringAt = at
    else if (character === '{' || character === '[') {
      closers.push(character === '{' ? '}' : ']')
      kept = at + 1
    } else if (character === '}' || character === ']') {
      closers.pop()
      kept = at + 1
    } else if (character === ',') kept = at
  }
  return { stringAt, kept, closers }
}

function closed(text: string): string {
  return text + scan(text).closers.reverse().join('')
}

/** An escape that is cut off is at most `\uXXX`. */
function withoutHalfEscape(text: string): string {
  const half = /(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)$/.exec(text.slice(-64))
  return half?.[1] === undefined ? text : text.slice(0, -half[1].length)
}
