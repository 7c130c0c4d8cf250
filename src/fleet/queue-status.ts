/**
 * What one request knows of its wait for a slot, for its client. The fleet is asked in the background, at most as often
 * as it wants to be, so that whoever looks never waits for it.
 */
import type { EffortWord } from '../../backends/model/effort.ts'
import type { RequestContext } from '../chat/context.ts'
import { fleetOf } from './client.ts'
import type { WaitView } from './fleet.ts'

export class Wait {
  /** The last wait that ended with a slot: where it stood when it came, and how long it waited. */
  past: { position: number; waitedMs: number } | undefined
  /** The effort that the request was lowered to under load; known before it waits. */
  lowered: EffortWord | undefined
  readonly #line: RequestContext
  #waits = false
  #known: WaitView | undefined
  #asking: Promise<void> | undefined
  #askAt = 0

  constructor(context: RequestContext) {
    this.#line = context
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

  /** The newest answer that there is; undefined when it does not wait, or nothing is known. */
  look(now: number): WaitView | undefined {
    if (this.#waits && now >= this.#askAt) this.#asking ??= this.#ask(now)
    return this.#known
  }

  /** As `look`, but awaits the first answer. Never rejects. */
  async firstLook(now: number): Promise<WaitView | undefined> {
    if (!this.look(now)) await this.#asking
    return this.#known
  }

  /** Never rejects: a figure that does not come is not told. */
  async #ask(now: number): Promise<void> {
    const answer = await fleetOf(this.#line.env)
      .position(this.#line.requestId)
      .catch(() => undefined)
    this.#asking = undefined
    this.#askAt = now + (answer?.askAgainMs ?? 1_000)
    if (this.#waits) this.#known = answer
  }
}

/** The comment that a stream is sent while its request waits. */
export function waitComment(view: WaitView | undefined): string {
  if (!view) return ': waiting for a slot\n\n'
  const { position, of, expectedWaitMs } = view
  const about = expectedWaitMs === null ? '' : `, about ${Math.ceil(expectedWaitMs / 1_000)} s`
  return `: waiting, position ${position} of ${of}${about}\n\n`
}
