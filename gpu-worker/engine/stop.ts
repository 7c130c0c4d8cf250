/**
 * Looks for stop strings in text that arrives in pieces.
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
  let held = ''
  let found = false
  let which: string | undefined
  return {
    get found() {
      return found
    },
    get which() {
      return which
    },
    push(text) {
      if (found) return ''
      if (stop.length === 0) return text
      held += text
      const match = firstMatch(held, stop)
      found = match !== undefined
      which = match?.stop
      return release(match?.start ?? held.length - heldLength(held, stop))
    },
    flush: () => (found ? '' : release(held.length)),
  }

  function release(length: number): string {
    const text = held.slice(0, length)
    held = held.slice(length)
    return text
  }
}

/** The winning stop string, and where it begins. */
function firstMatch(text: string, stops: readonly string[]): { start: number; stop: string } | undefined {
  let best: { start: number; end: number; stop: string } | undefined
  for (const each of stops) {
    const start = text.indexOf(each)
    if (start < 0) continue
    const end = start + each.length
    if (!best || end < best.end || (end === best.end && start < best.start)) best = { start, end, stop: each }
  }
  return best
}

/** The length of the longest end of `text` with which a stop string begins. */
function heldLength(text: string, stop: readonly string[]): number {
  const longest = Math.max(...stop.map((each) => each.length)) - 1
  for (let length = Math.min(longest, text.length); length > 0; length--) {
    const end = text.slice(-length)
    if (stop.some((each) => each.startsWith(end))) return length
  }
  return 0
}
