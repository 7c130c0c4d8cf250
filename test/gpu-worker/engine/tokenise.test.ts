import { describe, expect, it } from 'vitest'
import { createTokenise } from '../../../gpu-worker/engine/tokenise.ts'

/** A simulated tokenizer that takes a millisecond per letter, and an event loop whose turns are counted. */
function world() {
  let now = 0
  let turns = 0
  const tokenise = createTokenise(
    function* (text, into) {
      for (const letter of text) {
        now += 1
        into.push(letter.charCodeAt(0))
        yield
      }
    },
    async () => {
      turns++
    },
    () => now,
  )
  return { tokenise, turns: () => turns }
}

describe('tokenise', () => {
  it('[ENG1] numbers are copied unchanged, text becomes ordinary tokens, in order', async () => {
    expect([...((await world().tokenise([1, 'ab', 3, 'c', 4])) ?? [])]).toEqual([1, 97, 98, 3, 99, 4])
  })

  it('[ENG18] a long text yields every few milliseconds, and a short one does not wait for its end', async () => {
    const { tokenise, turns } = world()
    const done: string[] = []
    const long = tokenise(['x'.repeat(100)]).then(() => done.push('long'))
    const short = tokenise(['y']).then(() => done.push('short'))
    await Promise.all([long, short])
    expect(done).toEqual(['short', 'long'])
    expect(turns()).toBeGreaterThanOrEqual(50)
    expect(await tokenise(['z'])).toHaveLength(1)
  })
})
