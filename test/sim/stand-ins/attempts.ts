/** The product's attempts; a watcher sees every step. */
import { type AttemptEvent, type AttemptsState, next as decide, type Next } from '../../../src/chat/attempts.ts'

export * from '../../../src/chat/attempts.ts'

type Watcher = (state: AttemptsState, event: AttemptEvent, next: Next) => void

let watcher: Watcher | undefined

export function watchAttempts(next: Watcher): void {
  watcher = next
}

export function next(state: AttemptsState, event: AttemptEvent): Next {
  const decided = decide(state, event)
  watcher?.(state, event, decided)
  return decided
}
