/** Describes a world that broke an invariant: seed, step, invariant, preceding events, and the command to repeat it. */
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
