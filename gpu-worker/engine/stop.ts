/**
 * Searches for stop strings in text that arrives in pieces, with one step per character and stop string.
 *
 * The first complete stop string wins; among those that end at the same place, the longest. So the result does not
 * depend on how the text is split.
 */
export interface StopSearch {
  /** Returns the text that cannot be part of a stop string; '' after one was found. */
  push(text: string): string
  /** Returns the text held back that did not become a stop string. */
  flush(): string
  readonly found: boolean
  /** The stop string that was found. */
  readonly which: string | undefined
}

export function createStopSearch(stop: readonly string[]): StopSearch {
  const matchers = stop.map(createMatcher)
  let held = ''
  let which: string | undefined

  /** The longest stop string that ends at the current character. */
  function complete(): string | undefined {
    return matchers
      .filter((matcher) => matcher.matched === matcher.stop.length)
      .reduce<string | undefined>(
        (best, { stop }) => (best !== undefined && best.length >= stop.length ? best : stop),
        undefined,
      )
  }

  function release(length: number): string {
    const text = held.slice(0, length)
    held = held.slice(length)
    return text
  }

  return {
    get found() {
      return which !== undefined
    },
    get which() {
      return which
    },
    push(text) {
      if (which !== undefined) return ''
      if (stop.length === 0) return text
      held += text
      for (let at = held.length - text.length; at < held.length; at++) {
        for (const matcher of matchers) matcher.take(held.charCodeAt(at))
        which = complete()
        if (which !== undefined) return release(at + 1 - which.length)
      }
      return release(held.length - Math.max(...matchers.map(({ matched }) => matched)))
    },
    flush: () => (which !== undefined ? '' : release(held.length)),
  }
}

interface Matcher {
  readonly stop: string
  /** Length of the longest prefix of the stop string that the text ends with. */
  matched: number
  take(code: number): void
}

/** The Knuth–Morris–Pratt algorithm. */
function createMatcher(stop: string): Matcher {
  const fallback = fallbacks(stop)
  return {
    stop,
    matched: 0,
    take(code) {
      while (this.matched > 0 && stop.charCodeAt(this.matched) !== code) this.matched = fallback[this.matched - 1] ?? 0
      if (stop.charCodeAt(this.matched) === code) this.matched++
    },
  }
}

/** For each prefix of the text, the length of its longest proper suffix that is also a prefix of the text. */
function fallbacks(text: string): number[] {
  const lengths = [0]
  let length = 0
  for (let index = 1; index < text.length; index++) {
    while (length > 0 && text[index] !== text[length]) length = lengths[length - 1] ?? 0
    if (text[index] === text[length]) length++
    lengths.push(length)
  }
  return lengths
}
