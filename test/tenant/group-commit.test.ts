import { describe, expect, it } from 'vitest'
import { GroupCommit } from '../../src/tenant/group-commit.ts'

/** By default, every call checks for concurrent callers. */
function setUp(probeEvery = 1) {
  const ran: string[] = []
  let flushed: (() => void) | undefined
  let asked = 0
  const run = (kind: string) => {
    return <Result>(work: () => Result): Result => {
      const at = ran.length
      try {
        return work()
      } finally {
        ran.splice(at, ran.length - at, `${kind} ${ran.slice(at).join('')}`)
      }
    }
  }
  const commits = new GroupCommit(
    {
      transaction: run('transaction'),
      statement: run('statement'),
      flushed: (then) => {
        flushed = then
        asked += 1
      },
    },
    probeEvery,
  )
  const work = (value: string) => () => {
    ran.push(value)
    if (value === 'x') throw new Error('bad')
    return value
  }
  return { commits, ran, work, flush: () => flushed?.(), asked: () => asked }
}

describe('group commit', () => {
  it('[TEN10] calls that arrive during a flush share one commit, and each gets its own result', async () => {
    const { commits, ran, work, flush } = setUp()
    const answers = ['a', 'b', 'c', 'd'].map((value) => commits.run(work(value), 'statement'))
    expect(ran).toEqual(['statement a'])
    flush()
    expect(await Promise.all(answers)).toEqual(['a', 'b', 'c', 'd'])
    expect(ran).toEqual(['statement a', 'transaction bcd'])
  })

  it('[TEN11] each flush is awaited once, and a call runs at once when no other waits', async () => {
    const { commits, ran, work, flush, asked } = setUp()
    const first = ['a', 'b', 'c', 'd'].map((value) => commits.run(work(value)))
    expect(asked()).toBe(1)
    flush()
    expect(asked()).toBe(2)
    flush()
    flush()
    expect(asked()).toBe(3)
    const last = commits.run(work('e'))
    expect(await Promise.all([...first, last])).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(ran).toEqual(['transaction a', 'transaction bcd', 'transaction e'])
  })

  it('[TEN18] one call in N checks for concurrent callers: four turn grouping on until they are gone, two do not', async () => {
    const { commits, ran, work, flush, asked } = setUp(4)
    const run = (values: string) => [...values].map((value) => commits.run(work(value), 'statement'))
    run('abc')
    expect(asked()).toBe(0)
    // The fourth call checks: of two callers one waits, and no call waits for its commit.
    run('de')
    flush()
    expect([asked(), ran.at(-1)]).toEqual([1, 'transaction e'])
    run('fgh')
    expect([asked(), ran.at(-1)]).toEqual([1, 'statement h'])
    run('ijkl')
    flush()
    expect([asked(), ran.at(-1)]).toEqual([3, 'transaction jkl'])
    run('m')
    flush()
    expect([asked(), ran.at(-1)]).toEqual([4, 'transaction m'])
    flush()
    run('nop')
    expect([asked(), ran.at(-1)]).toEqual([4, 'statement p'])
  })

  it('[TEN12] a call that throws affects no other call, alone or in a shared commit', async () => {
    const { commits, work, flush } = setUp()
    const answers = ['x', 'a', 'x', 'c'].map((value) => commits.run(work(value)))
    for (let flushes = 0; flushes < 3; flushes++) flush()
    answers.push(commits.run(work('d')))
    expect(await Promise.allSettled(answers)).toMatchObject([
      { status: 'rejected' },
      { status: 'fulfilled', value: 'a' },
      { status: 'rejected' },
      { status: 'fulfilled', value: 'c' },
      { status: 'fulfilled', value: 'd' },
    ])
  })
})
