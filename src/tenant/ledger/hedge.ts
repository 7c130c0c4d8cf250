/**
 * Decides which dispatch of a hedged request its tenant pays for.
 *
 *   (none) ── hedged ──▶ open ── won(dispatch) ──▶ won
 *                          └── a finished answer ──▶ won by its dispatch
 *
 * The edge records the hedge before it sends the second dispatch, and the winner before it stops the other one. So in
 * any order of events at most one dispatch is paid for. While the hedge is open, only a finished answer is: an aborted
 * one has not reached the client. Later only the winner is. Every other dispatch is waste.
 */
export interface Hedge {
  winner: string | null
}

export const openHedge: Hedge = { winner: null }

/** Records the winner. The first recorded winner stays. */
export function won(hedge: Hedge, dispatchId: string): Hedge {
  return hedge.winner === null ? { winner: dispatchId } : hedge
}

export function isPaid(hedge: Hedge, dispatchId: string, outcome: 'finished' | 'aborted' | 'failed'): boolean {
  return hedge.winner === null ? outcome === 'finished' : hedge.winner === dispatchId
}
