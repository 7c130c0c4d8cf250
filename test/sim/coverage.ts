/** Counts of the paths that worlds took, and the paths that must occur. */
import { faultKinds } from './faults.ts'

/** Each must occur in some hundred seeds; a path that never occurs is not simulated. */
const expected: Record<string, readonly string[]> = {
  step: ['read-media', 'lease', 'dispatch', 'reserve-more', 'hosted', 'answer', 'fail'],
  event: [
    ...['begin', 'media-read', 'no-reader', 'leased', 'not-leased', 'refused', 'unprepared', 'lost', 'answering'],
    ...['answer-error', 'client-left', 'raised', 'not-raised'],
  ],
  refusal: [
    ...['no_vision', 'media_missing', 'invalid_value', 'context_length_exceeded', 'preparation_failed'],
    ...['prompt_over_bound', 'bad_dispatch', 'engine_down'],
  ],
  lease: ['granted', 'rejected-no-endpoints'],
  ledger: ['post', 'late', 'waste', 'void', 'expire', 'hosted post', 'hosted waste', 'already-posted'],
  heartbeat: ['ready', 'duplicate', 'clock', 'draining', 'gone'],
  forgery: ['refused'],
  client: ['complete', 'left', 'replayed', 'broken off', '429 rate_limit_exceeded', '200 worker_lost'],
  response: ['kept', 'not kept', 'kept, read with 200', 'not kept, read with 404'],
}

/** Each must occur in some thousand seeds. */
const rare: Record<string, readonly string[]> = {
  event: ['stream-lost'],
  refusal: ['no_slot', 'draining'],
  lease: ['lower-effort', 'evicted-cancelled', 'evicted-ttl'],
  ledger: ['pruned', 'unknown', 'hosted late'],
  client: ['409 idempotency_in_progress'],
}
const rareFromSeeds = 5_000

export class Coverage {
  readonly counts = new Map<string, number>()

  count(group: string, name: string, times = 1): void {
    const path = `${group}: ${name}`
    this.counts.set(path, (this.counts.get(path) ?? 0) + times)
  }

  add(other: ReadonlyMap<string, number>): void {
    for (const [path, times] of other) this.counts.set(path, (this.counts.get(path) ?? 0) + times)
  }

  /** Expected paths, faults included, that did not occur. */
  missing(seeds: number): string[] {
    const groups = [...Object.entries(expected), ...(seeds < rareFromSeeds ? [] : Object.entries(rare))]
    const paths = groups.flatMap(([group, names]) => names.map((name) => `${group}: ${name}`))
    return [...paths, ...faultKinds.map((kind) => `fault: ${kind}`)].filter((path) => !this.counts.get(path))
  }
}
