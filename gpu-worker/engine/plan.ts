/**
 * The scheduler's decisions, without its engine.
 *
 * A step is one batch: first one token for every sequence that is decoding, then prompt tokens. While anybody is
 * decoding, all prompts together get at most one chunk per step, so that nobody's next token waits longer than that.
 * When nobody is, prompts may fill the batch, but one prompt still advances by no more than a chunk: an abort is
 * looked at between steps.
 */

export interface FreeSequence {
  id: number
  /** What its part of the cache holds, and whose it is. */
  tokens: ArrayLike<number>
  owner: string
  /** The step in which it was last used. */
  usedAt: number
}

export interface Picked {
  id: number
  /** Leading tokens that need not be computed again. */
  reuse: number
}

/**
 * The free sequence of the same owner that shares the longest prefix with the prompt; among equals the one unused for longest, since its
 * owner is the least likely to come back. At least one token is always left to compute: its logits are the first answer.
 */
export function pickSequence(
  free: readonly FreeSequence[],
  prompt: ArrayLike<number>,
  owner: string,
): Picked | undefined {
  let best: (Picked & { usedAt: number }) | undefined
  for (const { id, tokens, usedAt, owner: theirs } of free) {
    const reuse = theirs === owner ? Math.min(commonPrefix(tokens, prompt), prompt.length - 1) : 0
    if (!best || reuse > best.reuse || (reuse === best.reuse && usedAt < best.usedAt)) best = { id, reuse, usedAt }
  }
  return best && { id: best.id, reuse: best.reuse }
}

function commonPrefix(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const length = Math.min(a.length, b.length)
  let index = 0
  while (index < length && a[index] === b[index]) index++
  return index
}

export interface Ordered {
  /** Smaller runs first. */
  priority: number
  /** When it came; unique. */
  arrival: number
}

export function inOrder(a: Ordered, b: Ordered): number {
  return a.priority - b.priority || a.arrival - b.arrival
}

export interface StepLimits {
  batchTokens: number
  prefillChunkTokens: number
}

export interface WaitingPrompt {
  /** Prompt tokens still to compute. */
  left: number
  priority: number
}

/**
 * How many prompt tokens each prompt advances in this step; `prompts` is in order (`inOrder`).
 *
 * A priority class gets what the classes before it leave. Within one the prompt that came first is sure of half, so
 * that it is never starved; the rest goes to the shortest, so that a short question does not wait for somebody's book.
 */
export function planPrefill(decoding: number, prompts: readonly WaitingPrompt[], limits: StepLimits): number[] {
  const room = Math.max(0, limits.batchTokens - decoding)
  let budget = decoding > 0 ? Math.min(limits.prefillChunkTokens, room) : room
  const counts = prompts.map(() => 0)

  function give(index: number, most: number): void {
    const given = counts[index] ?? 0
    const wanted = Math.min(prompts[index]?.left ?? 0, limits.prefillChunkTokens) - given
    const count = Math.min(wanted, most, budget)
    counts[index] = given + count
    budget -= count
  }

  const left = (index: number) => prompts[index]?.left ?? 0
  for (const [first, ...others] of classesOf(prompts)) {
    give(first, Math.ceil(budget / 2))
    for (const index of others.toSorted((a, b) => left(a) - left(b))) give(index, budget)
    give(first, budget)
  }
  return counts
}

/** Indexes of prompts by priority class, in order. */
function classesOf(prompts: readonly WaitingPrompt[]): [number, ...number[]][] {
  const classes: [number, ...number[]][] = []
  prompts.forEach(({ priority }, index) => {
    const last = classes.at(-1)
    if (last && prompts[last[0]]?.priority === priority) last.push(index)
    else classes.push([index])
  })
  return classes
}
