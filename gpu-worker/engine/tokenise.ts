/**
 * Tokenises texts without blocking the step loop: one time slice per turn of the event loop. Requests take turns, so
 * that a short request does not wait for a long one.
 */

/** Long enough for low overhead, short compared with a step. */
const sliceMs = 2

/** Resolves with undefined if the signal aborts first. */
export type Tokenise = (pieces: readonly (number | string)[], signal?: AbortSignal) => Promise<Uint32Array | undefined>

interface TokeniseJob {
  pieces: readonly (number | string)[]
  next: number
  tokens: number[]
  signal: AbortSignal | undefined
  resolve(tokens: Uint32Array | undefined): void
}

/**
 * @param tokensOf returns the ordinary tokens of a text; numbers among the pieces are copied unchanged
 * @param turn resolves in the next turn of the event loop
 */
export function createTokenise(
  tokensOf: (text: string) => readonly number[],
  turn: () => Promise<unknown>,
  now: () => number,
): Tokenise {
  const waiting: TokeniseJob[] = []

  async function work(): Promise<void> {
    for (let request = waiting[0]; request; request = waiting[0]) {
      const endsAt = now() + sliceMs
      while (request.next < request.pieces.length && !request.signal?.aborted && now() < endsAt) advance(request)
      waiting.shift()
      if (request.signal?.aborted) request.resolve(undefined)
      else if (request.next === request.pieces.length) request.resolve(Uint32Array.from(request.tokens))
      else waiting.push(request)
      if (waiting.length > 0) await turn()
    }
  }

  function advance(request: TokeniseJob): void {
    const piece = request.pieces[request.next++]
    if (typeof piece === 'number') request.tokens.push(piece)
    else if (piece !== undefined) for (const token of tokensOf(piece)) request.tokens.push(token)
  }

  return (pieces, signal) =>
    new Promise((resolve) => {
      waiting.push({ pieces, next: 0, tokens: [], signal, resolve })
      if (waiting.length === 1) void work()
    })
}
