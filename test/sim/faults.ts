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

function noFaults(): FaultCounts {
  return Object.fromEntries(faultKinds.map((kind) => [kind, 0])) as FaultCounts
}

/** The probability that one message or call meets the fault. */
const chances: Partial<Record<Fault, number>> = {
  'connection broken': 0.25,
  'receipt late': 0.3,
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

/** Faults that lose no call, process or connection of the product. */
const gentleKinds: readonly Fault[] = [
  ...(['client left', 'receipt repeated', 'receipt forged', 'hosted refused', 'hosted broken'] as const),
  ...(['hosted usage missing', 'key revoked', 'limits changed', 'rates changed', 'credit added'] as const),
  'corrected',
]
/** Faults of one tenant's object and account. */
const tenantKinds: readonly Fault[] = [
  ...(['tenant evicted', 'storage failed', 'key revoked', 'limits changed', 'rates changed', 'corrected'] as const),
]

/** Faults by which no call between the edge, the fleet and a worker is lost. */
const engineKinds: readonly Fault[] = [...gentleKinds, 'engine died', 'tenant evicted', 'storage failed']

/**
 * `gentle`: a fault loses nothing. `engines`: only engines and tenants' objects fail. `one-tenant`: every fault meets
 * the first tenant.
 */
export type Mood = 'gentle' | 'engines' | 'one-tenant' | 'any'

export function pickMood(random: Random): Mood {
  if (random.chance(0.2)) return 'gentle'
  if (random.chance(0.1)) return 'one-tenant'
  return random.chance(0.12) ? 'engines' : 'any'
}

const kindsIn: Readonly<Record<Exclude<Mood, 'any'>, readonly Fault[]>> = {
  gentle: gentleKinds,
  engines: engineKinds,
  'one-tenant': tenantKinds,
}

/** Some seeds use no fault, most use a few, some use all: bugs that many faults hide appear with few. */
export function pickFaults(random: Random, mood: Mood): ReadonlySet<Fault> {
  if (mood !== 'any') return new Set(kindsIn[mood].filter(() => random.chance(0.6)))
  const share = random.pick([0, 0.15, 0.3, 0.5, 0.8, 1])
  return new Set(faultKinds.filter(() => random.chance(share)))
}
