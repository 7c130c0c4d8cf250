/**
 * Queue status of one request, for its client. It is refreshed in the background, at the interval that the fleet sets,
 * so a caller never waits for the fleet object.
 */
import type { EffortWord } from '../../backends/model/effort.ts'
import { type FleetCall, fleetOf } from './client.ts'
import type { WaitView } from './views.ts'

export class Wait {
  /** The last wait that ended with a slot: queue position on arrival, and duration. */
  past: { position: number; waitedMs: number } | undefined
  /** The effort that the request was lowered to under load; set before the request waits. */
  lowered: EffortWord | undefined
  readonly #context: FleetCall
  #waits = false
  #known: WaitView | undefined
  #asking: Promise<void> | undefined
  #askAt = 0

  constructor(context: FleetCall) {
    this.#context = context
  }

  begin(): void {
    this.#waits = true
    this.#known = undefined
    this.#askAt = 0
  }

  end(): void {
    this.#waits = false
    this.#known = undefined
  }

  /** The latest status; undefined if the request does not wait or no status arrived yet. */
  look(now: number): WaitView | undefined {
    if (this.#waits && now >= this.#askAt) this.#asking ??= this.#ask(now)
    return this.#known
  }

  /** Like `look`, but awaits the first status. Never rejects. */
  async firstLook(now: number): Promise<WaitView | undefined> {
    if (!this.look(now)) await this.#asking
    return this.#known
  }

  /** Never rejects: without an answer the client gets no figures. */
  async #ask(now: number): Promise<void> {
    const answer = await fleetOf(this.#context.env)
      .position(this.#context.requestId)
      .catch(() => undefined)
    this.#asking = undefined
    this.#askAt = now + (answer?.askAgainMs ?? 1_000)
    if (this.#waits) this.#known = answer
  }
}

/** The SSE comment that a stream receives while its request waits. */
export function waitComment(view: WaitView | undefined): string {
  if (!view) return ': waiting for a slot\n\n'
  const { position, of, expectedWaitMs } = view
  const about = expectedWaitMs === null ? '' : `, about ${Math.ceil(expectedWaitMs / 1_000)} s`
  return `: waiting, position ${position} of ${of}${about}\n\n`
}
