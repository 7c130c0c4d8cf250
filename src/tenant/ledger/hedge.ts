/**
 * Which of several dispatches of one request its tenant pays for, where they may run side by side.
 *
 *   (none) ── hedged ──▶ open ── won(dispatch) ──▶ won
 *                          └── a finished answer ──▶ won by that one
 *
 * The books are told before the second dispatch is sent, and which has won before the other is stopped. So whatever comes
 * in whatever order, one dispatch at most is paid for: while it is open only an answer that is whole, since of one that
 * broke off nothing has reached the client; afterwards only the winner. All else is waste.
 */
export interface Hedge {
  winner: string | null
}

export const openHedge: Hedge = { winner: null }

/** The first that is named stays. */
export function won(hedge: Hedge, dispatchId: string): Hedge {
  return hedge.winner === null ? { winner: dispatchId } : hedge
}

export function isPaid(hedge: Hedge, dispatchId: string, outcome: 'finished' | 'aborted' | 'failed'): boolean {
  return hedge.winner === null ? outcome === 'finished' : hedge.winner === dispatchId
}
