/**
 * Separates reasoning from content when an engine leaves the model's marks in the text: `[THINK]…[/THINK]`. A possible
 * start of a mark is held back, so the events do not depend on how the text is split.
 */
import type { BackendEvent } from '../../contract/backend.ts'

type ThinkChannel = 'content' | 'reasoning'

export function createThinkSplit(open: string, close: string) {
  let channel: ThinkChannel = 'content'
  let held = ''

  /** The length of the longest end of `text` that is a start of `mark`. */
  function beginning(text: string, mark: string): number {
    for (let length = Math.min(text.length, mark.length - 1); length > 0; length--)
      if (mark.startsWith(text.slice(-length))) return length
    return 0
  }

  function take(text: string): BackendEvent[] {
    const mark = channel === 'content' ? open : close
    const at = text.indexOf(mark)
    if (at < 0) {
      const keep = beginning(text, mark)
      held = text.slice(text.length - keep)
      return said(text.slice(0, text.length - keep))
    }
    const before = said(text.slice(0, at))
    channel = channel === 'content' ? 'reasoning' : 'content'
    return [...before, ...take(text.slice(at + mark.length))]
  }

  const said = (text: string): BackendEvent[] => (text === '' ? [] : [{ kind: 'text', channel, text }])

  return {
    push(text: string): BackendEvent[] {
      const all = held + text
      held = ''
      return take(all)
    },
    flush(): BackendEvent[] {
      const rest = said(held)
      held = ''
      return rest
    },
  }
}
