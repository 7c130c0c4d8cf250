/**
 * Tokenises texts without blocking the step loop: one time slice per turn of the event loop. Requests take turns, so
 * that a short request does not wait for a long one.
 */

/** Long enough for low overhead, short compared with a step. */
const sliceMs = 2

/** Resolves with undefined if the signal aborts first. */
export type Tokenise = (pieces: readonly (number | string)[], signal?: AbortSignal) => Promise<Uint32Array | undefined>

/** Appends the ordinary tokens of a text to `into`. Yields often, so that the caller can do other work between. */
export type TokenSteps = (text: string, into: number[]) => Iterator<void>

interface TokeniseJob {
  pieces: readonly (number | string)[]
  next: number
  /** The text in progress. */
  steps: Iterator<void> | undefined
  tokens: number[]
  signal: AbortSignal | undefined
  resolve(tokens: Uint32Array | undefined): void
}

/**
 * @param tokensOf numbers among the pieces are copied unchanged
 * @param turn resolves in the next turn of the event loop
 */
export function createTokenise(tokensOf: TokenSteps, turn: () => Promise<unknown>, now: () => number): Tokenise {
  const waiting: TokeniseJob[] = []

  async function work(): Promise<void> {
    for (let request = waiting[0]; request; request = waiting[0]) {
      const endsAt = now() + sliceMs
      while (!isDone(request) && !request.signal?.aborted && now() < endsAt) advance(request)
      waiting.shift()
      if (request.signal?.aborted) request.resolve(undefined)
      else if (isDone(request)) request.resolve(Uint32Array.from(request.tokens))
      else waiting.push(request)
      if (waiting.length > 0) await turn()
    }
  }

  function advance(request: TokeniseJob): void {
    if (request.steps) {
      if (request.steps.next().done) request.steps = undefined
      return
    }
    const piece = request.pieces[request.next++]
    if (typeof piece === 'number') request.tokens.push(piece)
    else if (piece !== undefined) request.steps = tokensOf(piece, request.tokens)
  }

  return (pieces, signal) =>
    new Promise((resolve) => {
      waiting.push({ pieces, next: 0, steps: undefined, tokens: [], signal, resolve })
      if (waiting.length === 1) void work()
    })
}

function isDone({ pieces, next, steps }: TokeniseJob): boolean {
  return next === pieces.length && !steps
}
