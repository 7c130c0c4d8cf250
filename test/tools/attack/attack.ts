/** One attack: what it sends, and what its answers may be. */
import type { Answer, World } from './world.ts'

export interface Attack {
  /** Unique, in kebab-case; `npm run attack -- <name>` runs it alone. */
  name: string
  /** Part of `npm test`. */
  quick?: boolean
  /** Sends everything and resolves when the last answer came or was given up. */
  run(world: World): Promise<Answer[]>
  /** The answers that are right, beyond "no worker was lost": statuses, or a question. Any where it is left out. */
  expect?:
    | readonly number[]
    | ((answers: readonly Answer[], world: World) => string | undefined | Promise<string | undefined>)
}

/** The same request several times, at once. */
export function times(count: number, send: (index: number) => Promise<Answer>): Promise<Answer[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => send(index)))
}

export async function inTurn(count: number, send: (index: number) => Promise<Answer>): Promise<Answer[]> {
  const answers: Answer[] = []
  for (let index = 0; index < count; index++) answers.push(await send(index))
  return answers
}

export const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
