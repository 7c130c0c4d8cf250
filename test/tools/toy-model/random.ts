/** Seeded randomness: the same seed gives the same corpus on every machine. */
export type Random = {
  /** A float in [0, 1). */
  next(): number
  /** An integer from low to high, both inclusive. */
  integer(low: number, high: number): number
  pick<T>(list: readonly T[]): T
  chance(probability: number): boolean
  /** `count` different items in random order; fewer if the list is shorter. */
  sample<T>(list: readonly T[], count: number): T[]
}

/** Mulberry32: 32 bits of state are enough for a few hundred thousand chats, and it is five lines. */
export function random(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const integer = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1))
  const pick = <T>(list: readonly T[]): T => {
    const item = list[integer(0, list.length - 1)]
    if (item === undefined) throw new Error('picked from an empty list')
    return item
  }
  const sample = <T>(list: readonly T[], count: number): T[] => {
    const left = [...list]
    const taken: T[] = []
    while (taken.length < count && left.length > 0) taken.push(...left.splice(integer(0, left.length - 1), 1))
    return taken
  }
  return { next, integer, pick, chance: (probability) => next() < probability, sample }
}

/** Things used only in training, and things used only in an evaluation. */
export type Split = 'train' | 'held'

/** FNV-1a of the key: one key in eight is held out, for every seed, so training never uses it. */
export function splitOf(key: string): Split {
  let hash = 0x811c9dc5
  for (const character of key) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193)
  return ((hash ^ (hash >>> 15)) >>> 0) % 8 === 0 ? 'held' : 'train'
}

/** Draws until the result belongs to the requested split. */
export function drawn<T>(split: Split, make: () => T, key: (thing: T) => string): T {
  for (let tries = 0; tries < 10_000; tries++) {
    const thing = make()
    if (splitOf(key(thing)) === split) return thing
  }
  throw new Error(`nothing in the ${split} split`)
}
