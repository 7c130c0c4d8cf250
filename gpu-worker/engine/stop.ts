/**
 * Looks for stop strings in text that arrives in pieces, with one step per character and stop string.
 *
 * The first to be complete wins, and among those that end at the same place the one that began first: so the answer
 * does not depend on how the text was cut.
 */
export interface StopSearch {
  /** Text that is certainly not part of a stop string. Nothing after one was found. */
  push(text: string): string
  /** What was held back and became no stop string. */
  flush(): string
  readonly found: boolean
  /** The one that was found. */
  readonly which: string | undefined
}

export function createStopSearch(stop: readonly string[]): StopSearch {
  const matchers = stop.map(createMatcher)
  let held = ''
  let which: string | undefined

  /** The longest stop string that the text now ends with. */
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
  /** The longest beginning of the stop string with which the text ends. */
  matched: number
  take(code: number): void
}

/** After Knuth, Morris and Pratt: what still matches after a mismatch is known beforehand. */
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

/** For each beginning of the text, the length of its longest proper end that is a beginning of the text too. */
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
