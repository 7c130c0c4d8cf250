/** The quick half of `npm run attack`: hostile requests next to a well-behaved tenant, against the whole product. */
import { describe, expect, it } from 'vitest'
import { attacks } from '../tools/attack/attacks.ts'
import { type AttackResult, perform } from '../tools/attack/perform.ts'

const quick = attacks.filter((attack) => attack.quick)

describe('hostile requests', () => {
  it('[ATK1] no quick attack loses a process, holds up a neighbour, leaves anything reserved or receives a wrong answer', async () => {
    // A busy machine stalls a neighbour for a while by itself; `npm run attack` holds the real bar.
    const results = await perform(quick, undefined, 6_000)
    const faults = ({ name, faults: found }: AttackResult) => found.map((fault) => `${name}: ${fault}`)
    expect(results.flatMap(faults)).toEqual([])
    expect(results).toHaveLength(quick.length)
  }, 400_000)
})
