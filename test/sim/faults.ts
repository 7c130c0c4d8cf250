/** The kinds of faults, how many of each were injected, and which of them one seed uses. */
import type { Random } from './random.ts'

export const faultKinds = [
  'tenant evicted',
  'storage failed',
  'isolate killed',
  'client left',
  'worker killed',
  'worker paused',
  'worker drained',
  'worker started twice',
  'worker clock wrong',
  'engine died',
  'connection broken',
  'call lost',
  'answer lost',
  'receipt repeated',
  'receipt late',
  'receipt forged',
  'call repeated',
  'delayed',
  'clock forward',
  'clock back',
  'fleet evicted',
  'responses evicted',
  'hosted refused',
  'hosted broken',
  'hosted usage missing',
  'key revoked',
  'limits changed',
  'rates changed',
  'credit added',
  'corrected',
] as const
export type Fault = (typeof faultKinds)[number]
export type FaultCounts = Record<Fault, number>

export function noFaults(): FaultCounts {
  return Object.fromEntries(faultKinds.map((kind) => [kind, 0])) as FaultCounts
}

/** The probability that one message or call meets the fault. */
const chances: Partial<Record<Fault, number>> = {
  'connection broken': 0.15,
  'receipt late': 0.1,
  'receipt repeated': 0.15,
  'hosted refused': 0.3,
  'hosted broken': 0.3,
  'hosted usage missing': 0.3,
}

export class Faults {
  readonly counts = noFaults()
  /** No fault begins any more. */
  calm = false
  readonly #kinds: ReadonlySet<Fault>
  readonly #random: Random

  constructor(kinds: ReadonlySet<Fault>, random: Random) {
    this.#kinds = kinds
    this.#random = random
  }

  get kinds(): ReadonlySet<Fault> {
    return this.#kinds
  }

  has(kind: Fault): boolean {
    return this.#kinds.has(kind)
  }

  /** Whether this message meets the fault. */
  befalls(kind: Fault): boolean {
    if (this.calm || !this.#kinds.has(kind) || !this.#random.chance(chances[kind] ?? 0.04)) return false
    this.counts[kind] += 1
    return true
  }
}

/** Some seeds use no fault, most use a few, some use all: bugs that many faults hide appear with few. */
export function pickFaults(random: Random): ReadonlySet<Fault> {
  const share = random.pick([0, 0.15, 0.3, 0.5, 0.8, 1])
  return new Set(faultKinds.filter(() => random.chance(share)))
}
