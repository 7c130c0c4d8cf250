/** One attack: the requests that it sends, and the answers that are acceptable. */
import type { Answer, World } from './world.ts'

export interface Attack {
  /** Unique, in kebab-case; `npm run attack -- <name>` runs this attack alone. */
  name: string
  /** Part of `npm test`. */
  quick?: boolean
  /** Sends all requests. Resolves when the last answer has arrived or timed out. */
  run(world: World): Promise<Answer[]>
  /** Accepted statuses, or a check that returns a fault. Without it any answer is accepted if no worker was lost. */
  expect?:
    | readonly number[]
    | ((answers: readonly Answer[], world: World) => string | undefined | Promise<string | undefined>)
}

/** Sends the same request several times, concurrently. */
export function times(count: number, send: (index: number) => Promise<Answer>): Promise<Answer[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => send(index)))
}

export async function inTurn(count: number, send: (index: number) => Promise<Answer>): Promise<Answer[]> {
  const answers: Answer[] = []
  for (let index = 0; index < count; index++) answers.push(await send(index))
  return answers
}

export const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
