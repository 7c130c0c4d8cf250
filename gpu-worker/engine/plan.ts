/**
 * The scheduler's decisions as pure functions.
 *
 * A step is one batch: first one token for every decoding sequence, then prompt tokens. While any sequence decodes, all
 * prompts together get at most one chunk per step, which bounds the delay of each next token. Otherwise prompts may
 * fill the batch, but one prompt still advances by at most one chunk, because the scheduler checks for aborts between
 * steps.
 */

export interface FreeSequence {
  id: number
  /** The tokens in its part of the KV cache, and the tenant that sent them. */
  tokens: ArrayLike<number>
  owner: string
  /** The number of the step that last used it. */
  usedAt: number
}

export interface Picked {
  id: number
  /** Leading tokens that are already in the cache. */
  reuse: number
}

/**
 * Returns the free sequence of the same owner with the longest common prefix; among equals, the least recently used
 * one. At least one prompt token is always computed again, because its logits give the first output token.
 */
export function pickSequence(
  free: readonly FreeSequence[],
  prompt: ArrayLike<number>,
  owner: string,
): Picked | undefined {
  let best: (Picked & { usedAt: number }) | undefined
  for (const { id, tokens, usedAt, owner: sequenceOwner } of free) {
    const reuse = sequenceOwner === owner ? Math.min(commonPrefix(tokens, prompt), prompt.length - 1) : 0
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
  /** Arrival number; unique. */
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
 * Returns how many tokens each prompt advances in this step; `prompts` is sorted with `inOrder`.
 *
 * Each priority class gets the tokens that the classes before it do not use. Within a class, half is reserved for the
 * oldest prompt, so that it never starves; the rest goes to the shortest prompts, so that they do not wait for long
 * ones.
 */
export function planPrefill(decoding: number, prompts: readonly WaitingPrompt[], limits: StepLimits): number[] {
  const free = Math.max(0, limits.batchTokens - decoding)
  let budget = decoding > 0 ? Math.min(limits.prefillChunkTokens, free) : free
  const counts = prompts.map(() => 0)

  function assign(index: number, max: number): void {
    const assigned = counts[index] ?? 0
    const wanted = Math.min(prompts[index]?.left ?? 0, limits.prefillChunkTokens) - assigned
    const count = Math.min(wanted, max, budget)
    counts[index] = assigned + count
    budget -= count
  }

  const left = (index: number) => prompts[index]?.left ?? 0
  for (const [first, ...others] of classesOf(prompts)) {
    assign(first, Math.ceil(budget / 2))
    for (const index of others.toSorted((a, b) => left(a) - left(b))) assign(index, budget)
    assign(first, budget)
  }
  return counts
}

/** Indexes of prompts grouped by priority class, in order. */
function classesOf(prompts: readonly WaitingPrompt[]): [number, ...number[]][] {
  const classes: [number, ...number[]][] = []
  prompts.forEach(({ priority }, index) => {
    const last = classes.at(-1)
    if (last && prompts[last[0]]?.priority === priority) last.push(index)
    else classes.push([index])
  })
  return classes
}
