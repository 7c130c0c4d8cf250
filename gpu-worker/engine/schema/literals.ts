/**
 * One expression for many literal texts: a prefix tree, so that all texts that are still possible share one parse
 * stack. Ten thousand texts with the same first forty letters cost as much as one.
 */

export interface Literals {
  text: string
  /** Maximum parse stacks at once: the branches of the widest node. */
  stacks: number
  /** Parse stacks before the first character. */
  starts: number
}

/**
 * @param rule makes a separate rule of a text, so that a deep tree does not become deep nesting
 * @param after returns the expression that follows a text in the grammar
 */
export function literals(
  texts: readonly string[],
  rule: (text: string) => string,
  after: (text: string) => string = () => '',
): Literals {
  const sorted = [...new Set(texts)].sort()
  let stacks = 1

  /** The node of texts `from` to `to` (exclusive), which share their first `at` code units. */
  function node(from: number, to: number, at: number): { alternatives: string[] } {
    const alternatives: string[] = []
    let start = from
    if ((sorted[start]?.length ?? 0) === at) {
      alternatives.push(after(sorted[start] ?? '').trimStart())
      start++
    }
    while (start < to) {
      let end = start + 1
      const first = characterAt(sorted[start] ?? '', at)
      while (end < to && characterAt(sorted[end] ?? '', at) === first) end++
      alternatives.push(branch(start, end, at))
      start = end
    }
    stacks = Math.max(stacks, alternatives.length)
    return { alternatives }
  }

  function branch(from: number, to: number, at: number): string {
    const first = sorted[from] ?? ''
    if (to - from === 1) return `${quoted(first.slice(at))}${after(first)}`
    const shared = commonLength(first, sorted[to - 1] ?? '')
    const inner = node(from, to, shared).alternatives
    return `${quoted(first.slice(at, shared))} ${rule(inner.join(' | '))}`
  }

  const { alternatives } = node(0, sorted.length, 0)
  const text = alternatives.length === 1 ? (alternatives[0] ?? '') : `(${alternatives.join(' | ')})`
  return { text, stacks: stacks + 1, starts: alternatives.length }
}

/** A code point, because the grammar's text cannot contain half of a surrogate pair. */
function characterAt(text: string, at: number): number {
  return text.codePointAt(at) ?? -1
}

/**
 * Length of the common prefix, never inside a surrogate pair. In a sorted list the first and last texts share the
 * least.
 */
function commonLength(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  let index = 0
  while (index < length && a[index] === b[index]) index++
  const code = a.charCodeAt(index - 1)
  return index > 0 && code >= 0xd800 && code <= 0xdbff ? index - 1 : index
}

export function quoted(text: string): string {
  return `"${text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n').replace(/\r/g, '\\r').replace(/\t/g, '\\t')}"`
}
