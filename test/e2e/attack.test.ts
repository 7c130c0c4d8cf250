/** The quick half of `npm run attack`: hostile requests next to a well-behaved tenant, against the whole product. */
import { describe, expect, it } from 'vitest'
import { attacks } from '../tools/attack/attacks.ts'
import { type AttackResult, perform } from '../tools/attack/perform.ts'

const quick = attacks.filter((attack) => attack.quick)

describe('hostile requests', () => {
  it('[ATK1] no quick attack ends a process, delays a neighbour’s stream, leaves anything reserved or receives a wrong answer', async () => {
    // A busy machine alone can delay a neighbour; `npm run attack` applies the strict limit.
    const results = await perform(quick, undefined, 6_000)
    const faults = ({ name, faults: found }: AttackResult) => found.map((fault) => `${name}: ${fault}`)
    expect(results.flatMap(faults)).toEqual([])
    expect(results).toHaveLength(quick.length)
  }, 400_000)
})
