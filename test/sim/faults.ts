/** The kinds of faults, how many of each were injected, and which of them one seed uses. */
import type { Random } from './random.ts'

export const faultKinds = [
  'tenant evicted',
  'storage failed',
  'isolate killed',
  'client left',
  'worker killed',
  'worker paused',
  'engine died',
  'connection broken',
  'call lost',
  'answer lost',
  'receipt repeated',
  'call repeated',
  'delayed',
  'clock forward',
  'clock back',
  'fleet evicted',
  'key revoked',
  'limits changed',
  'rates changed',
  'credit added',
  'corrected',
  'pruned',
] as const
export type Fault = (typeof faultKinds)[number]
export type FaultCounts = Record<Fault, number>

export function noFaults(): FaultCounts {
  return Object.fromEntries(faultKinds.map((kind) => [kind, 0])) as FaultCounts
}

/** Some seeds use no fault, most use a few, some use all: bugs that many faults hide appear with few. */
export function pickFaults(random: Random): ReadonlySet<Fault> {
  const share = random.pick([0, 0.15, 0.3, 0.5, 0.8, 1])
  return new Set(faultKinds.filter(() => random.chance(share)))
}
