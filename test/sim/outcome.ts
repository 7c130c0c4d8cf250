/** What a world that broke an invariant tells: where, what, what came before, and how to see it again. */
import type { Outcome } from './world.ts'

export function describeOutcome({ seed, violation }: Outcome): string {
  if (!violation) return `seed ${seed}: no violation`
  const { invariant, detail, step, tail } = violation
  return [
    `seed ${seed}, step ${step}: VIOLATED ${invariant}: ${detail}`,
    ...tail.map((line) => `  ${line}`),
    `  again: npm run sim -- --seed ${seed} --trace`,
  ].join('\n')
}
